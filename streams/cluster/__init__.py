"""The roles of a cluster beside the sessions role: plain loops over hops, on Kafka.

`performing` runs requests, `sending` is the egress, `waking` the clock. Each may run in any number
of processes; what one has in hand when it dies, another does.
"""
