"""The hops by themselves: records in, decisions out, the time is given. No host, no log."""
