"""The roles of a Kafka cluster beside the sessions': plain asyncio loops over the hops.

One file for each role; `adapters.kafka` reads and writes the topics for them.
"""

ROLES = ("ingress", "sessions", "model", "skill", "egress", "clock")
"""What `--role` takes; `all` is all of them."""
