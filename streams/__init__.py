"""The hops in the order in which a message passes them, the hosts that run them, and the settings.

Read the data path from the file names: ingress, sessions, runners, egress, clock. They are plain
synchronous objects; a host (`embedded`, or the roles of `cluster`) reads the log, asks them,
commits what they decide and does the I/O. What both hosts do it with stands here: `performers` and
`calls`, the event loops around runners and egress, and `machine_clock`. What a hop never does: read
a clock, open a file or a socket, or know which host it runs on.
"""
