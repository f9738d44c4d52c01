"""`.chat` files: conversations as plain text, to be written by people and run as tests.

Beside the data path. `lines` has the records, `parse` reads them, `write` writes them, `run` runs
them on whatever can talk, `pure` is that on `engine.step` alone, `reduce` makes failing ones short.
It never asks for the time or draws anything by chance, and knows nothing of the test kit.
"""
