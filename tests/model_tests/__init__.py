"""Tests of models/: runners, and how a model gets here."""
