"""The error of settings that are unknown or wrong: its class is what gives it an exit code."""

from engine.errors import Refused


class WrongSettings(Refused):
    """Nothing starts with these settings: the text has all that is wrong, and what is allowed."""
