"""Tests of the repository itself: sizes, names, words, and what the wheel ships."""
