"""Every bound of the engine, with its unit and its reason.

A bound here is part of the engine's semantics: change one and `SEMANTICS` in `engine.flow` must be
raised, because a recorded history would fold to other bytes.
"""

EVENT_BYTES_MAX = 64 * 1024
"""One encoded event: a Kafka broker takes 1 MiB, and a person reads far less."""

EFFECT_BYTES_MAX = 256 * 1024
SESSION_BYTES_MAX = 256 * 1024
"""A session is rewritten with each of its events: what is bigger belongs elsewhere."""

MESSAGE_TEXT_BYTES_MAX = 16 * 1024
QUOTED_TEXT_BYTES_MAX = 8 * 1024
"""What is quoted is there to be understood, not to be read whole."""

REPLY_TEXT_BYTES_MAX = 24 * 1024
"""What a model or a skill says, UTF-8; the rest is cut and marked. JSON may double it."""

QUEUE_MAX = 8
"""Messages that a busy session postpones; the next one is refused, and told so."""
QUEUE_BYTES_MAX = 96 * 1024
"""Of these messages, as they are stored. Once offered, their text may stand in the flow's data and
among the unanswered, too: both and the transcript have room in a session."""

MICROSTEPS_MAX = 64
"""In one step; a usual turn has two. More is a cycle that the load check could not see."""

TRANSCRIPT_TURNS_MAX = 20
TRANSCRIPT_BYTES_MAX = 32 * 1024
"""Of the turns, as they are stored: about what a small model can attend to."""

SEEN_KEPT_MS = 25 * 3_600_000
"""An hour more than a message may be late, so that no late copy is taken for a new message."""
SEEN_MAX = 4_000
"""Events that one session takes in `SEEN_KEPT_MS` before it refuses messages: 32 KB of hashes."""
SEEN_OTHERS_MAX = 4_000
"""Room for what is taken all the same (stop, an operator's words, …) and for the ids of refused
messages. Beyond it the oldest ids are forgotten, so that no flood can fill a session."""

MESSAGE_AGE_MAX_MS = 24 * 3_600_000
"""A message that its platform sent longer ago is expired: visible, never answered."""

CLOCK_SKEW_MAX_MS = 2_000
"""An appender whose clock is further from the log's stops appending and says so."""

FRAMES_PER_S_MAX = 10
"""Frames that one open reply shows in a second; the latest text wins."""

MARK_TO_CALL_MAX_MS = 2_000
"""A delivery marked `sending` is called within this, or it is marked anew."""

DEATHS_MAX = 3
"""An event at which the process died this often is a dead letter, unstepped."""
