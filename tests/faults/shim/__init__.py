"""On PYTHONPATH of the lab's processes: `sitecustomize` is found here by its bare name."""
