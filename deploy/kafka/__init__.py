"""A real Kafka without containers: its jars by Maven, brokers as processes of this machine.

For people at a desk (`make kafka`), for the tests and for the benches. The standard library and
Java are all it needs. It is no way to run Kafka in production: brokers listen on loopback only.
"""
