"""Turn the bytes of an answer's tokens into text that only ever grows.

Place in the data path: inside the llama.cpp child's decode loop, between tokens and `Said`.

A token may be a third of a Chinese character or a quarter of an emoji: its bytes wait until the
character is whole. White space at the answer's beginning and end is not part of it, and what comes
last is not known yet: so it waits too. What was given out once is never taken back.
"""

import codecs


class AnswerText:
    """One answer's text, as it comes."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._begun = False

    def add(self, piece: bytes) -> str:
        """Take one token's bytes; return what may be shown now, possibly nothing."""
        return self._release(self._decoder.decode(piece))

    def end(self) -> str:
        """Return what was held back for good: half a character becomes a replacement mark."""
        return self._release(self._decoder.decode(b"", True))

    def _release(self, text: str) -> str:
        text = self._held + text
        if not self._begun:
            text = text.lstrip()
            self._begun = bool(text)
        shown = text.rstrip()
        self._held = text[len(shown) :]
        return shown
