"""Everything that comes from outside may be wrong: one table of wrong things, and what each ends as."""
