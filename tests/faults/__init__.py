"""The fault lab: a whole installation on a real broker, and everything that can happen to it.

    python -m tests.faults --fault kill --messages 20000     (or: make faults)

`lab` starts brokers, topics and worker processes (`crew`), which are restarted at once when they
end; people (`tests.crash.people`) talk to it over several gateways, while one of the `catalogue`'s
faults happens again and again. In the end everything comes to rest; `records` reads the topics with
consumers of its own, `tests.crash.judge` holds what the people saw against them, and `equivalence`
steps the same events on the embedded host. Lost, doubled, unknown and wrong must be 0.
"""
