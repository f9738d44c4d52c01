"""What computes text or meaning, each behind a port of the engine; one ML library per file."""
