"""Recorded histories with their step records, folded again by the tests for ever.

A file is JSON lines: a header (flow, configuration, ref), then each event and the step record it
led to. A file is never changed: where a flow is meant to behave otherwise, its version is raised
and a new file recorded (`python -m tests.histories.record`); where a schema changes, the old files
prove its upcaster.
"""
