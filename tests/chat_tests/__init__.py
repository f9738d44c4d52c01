"""Tests of `.chat` files, and the conversations of both shipped flows as such files."""
