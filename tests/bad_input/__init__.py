"""All that comes from outside may be wrong: one table of wrong things, and how each ends."""
