"""Tests of what is written for people: each snippet does what the text says, each link leads on."""
