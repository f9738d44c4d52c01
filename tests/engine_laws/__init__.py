"""The laws of the engine, as properties over generated histories of several flows."""
