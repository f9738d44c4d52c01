"""The test kit: generated dialogs with faults in them, checked against the engine's laws.

Beside the data path: it drives the very hops of `streams/` on a simulated log, clock, platform and
runners, and judges by what clients saw and what the logs hold. It never decides what a session
does, when a reply is marked or what is cancelled: that is the code under test.
"""
