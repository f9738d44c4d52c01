"""One suite per port; every backend passes the same, in a few lines."""
