"""Tests of the command line: what it says, and with which code it ends."""
