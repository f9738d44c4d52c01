"""The log of record: in memory (the executable specification) and in one SQLite file."""
