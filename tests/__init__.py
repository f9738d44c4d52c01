"""All tests. A folder here is never named like a package: it would shadow it."""
