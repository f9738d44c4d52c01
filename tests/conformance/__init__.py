"""Every adapter of this repository passes the suite of its port, in a few lines."""
