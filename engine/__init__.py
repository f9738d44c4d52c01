"""The pure core: what a session is, what may happen to it, and what it asks for.

Everything here is data in, data out: no clock, no chance, no I/O, no event loop, no logging. `step`
applies one event to a session; every rule that decides what a session does is in this package, and
the hosts of `streams/` only carry records to it and carry out what it decided.
"""
