"""What `bench.kafka_turns` is made of: a broker, contestants as processes, a driver, a meter.

Every contestant works on the same broker and gets its load from the same driver, which is a process
of its own (the bench's) and is left out of every figure.
"""
