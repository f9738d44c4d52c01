"""The hops in the order in which a message passes them, the host that runs them, and the settings.

Read the data path from the file names: ingress, sessions, runners, egress, clock. They are plain
synchronous objects; `embedded.py` reads the log, asks them, commits what they decide and does the
I/O. What a hop never does: read a clock, open a file or a socket, or know which host it runs on.
"""
