"""The flows that histories were recorded with, as they were then: `assistant_1` is assistant@1.

Copies, on purpose: the product's own flows change from day to day, and a history has to fold to its
recorded steps for ever. So what breaks a history is the engine or the machinery of flows, never a
new sentence of the assistant. Never edit a copy; a later flow gets a copy of its own beside it.
"""
