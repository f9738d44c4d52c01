"""Benchmarks: our own cost of a turn, and that of others, measured in one run by one yardstick."""
