"""The HTTP side of the console: pages, web chat, probes, metrics and the operators' API."""
