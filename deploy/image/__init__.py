"""The image of the assistant: what is in it, and its Dockerfile carried out without an engine."""
