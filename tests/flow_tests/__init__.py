"""Flows: their load checks, the machine under them, and the two flows of the product, driven."""
