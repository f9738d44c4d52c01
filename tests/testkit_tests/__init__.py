"""The test kit, tested: its worlds, its judges, what it generates and what it tells."""
