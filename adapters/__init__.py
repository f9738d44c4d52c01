"""One outside system per file, each behind one port of `engine.ports`.

An adapter translates: records of the engine on one side, a platform, a database or a process on the
other. What it never does: decide what a session does, or know another adapter's port.
"""
