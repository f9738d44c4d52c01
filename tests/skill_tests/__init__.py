"""Skills: the pool of processes, the registry, the built-in summary, and the page of the docs."""
