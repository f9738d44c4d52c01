"""Seeded defects, the judge of the test kit: the list, and the hunt that has to find them."""
