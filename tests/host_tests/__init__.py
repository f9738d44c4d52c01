"""The embedded host: recovery, failed commits, deaths, stops."""
