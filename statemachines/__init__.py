"""The flows: what a dialog looks like, as states and transitions that a person can read.

`flow.py` is the base of all flows, `machine.py` the only file that touches the `transitions`
library, `checks.py`, `purity.py` and `totality.py` find what is wrong when a flow is loaded,
`registry.py` is the explicit table of flows. Nothing here performs anything: a flow's callbacks ask
a `Turn`, and `engine.step` does the rest.
"""
