"""Decode many answers with one model: they share each batch, and join and leave at every step.

Place in the data path: the heart of the llama.cpp child, between `Ask` and `Said`/`Ended`.

Theory of operation. Each answer has a sequence of tokens, prompt first, and knows how many of them
are in the model's KV cache (`stored`). A step takes from each answer the tokens that are not stored
yet: one from an answer that is being made, a chunk from a prompt. Only when the batch has been
decoded do the counts grow; so a batch that was aborted or refused is simply forgotten. A slot keeps
its tokens after its answer has ended: the next turn of that conversation finds its beginning there.

What it never does: import llama_cpp, touch a socket, or read a clock. It is given a `Decoder`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from models.answer_text import AnswerText
from models.llama_wire import BATCH_TOKENS, Ended, Failed, Said, ToParent
from models.sampler import Sampler

BATCH_TOKENS_SHARED = 32
"""Prompt tokens in a batch while an answer is streaming: a long prompt must not stop it."""

DECODED, ABORTED = 0, 2
"""What `Decoder.decode` returns; everything else is an error."""


class Row(NamedTuple):
    """One token of a batch: its place in its slot's sequence, and whether logits are wanted."""

    token: int
    position: int
    slot: int
    wanted: bool


class Decoder(Protocol):
    """What the loop needs of a model."""

    def decode(self, rows: Sequence[Row]) -> int:
        """Decode at most `BATCH_TOKENS` rows; DECODED, ABORTED (nothing counts), or an error."""

    def logits(self, row: int) -> npt.NDArray[np.float32]:
        """The logits of a row of the last batch, float32 [vocabulary]; valid until the next."""

    def forget(self, slot: int, position: int) -> bool:
        """Drop a slot's tokens from `position` on. False: it can only be dropped whole."""

    def piece(self, token: int) -> bytes:
        """A token's bytes; none for a control token."""

    def ends(self, token: int) -> bool:
        """Does this token end an answer?"""


@dataclass(kw_only=True)
class Slot:
    """One sequence of the KV cache. `tokens`: what is stored in it. `used`: in which step last."""

    number: int
    tokens: list[int] = field(default_factory=list)
    used: int = 0


@dataclass(kw_only=True)
class Answer:
    """A request being answered. `tokens`: the prompt's, then those made."""

    number: int
    tokens: list[int]
    tokens_max: int  # of those made
    sampler: Sampler
    left_out: int = 0
    text: AnswerText = field(default_factory=AnswerText)
    made: int = 0
    stored: int = 0
    slot: Slot | None = None

    @property
    def missing(self) -> int:
        """Tokens that are not in the KV cache yet; 1 once the prompt is."""
        return len(self.tokens) - self.stored


class DecodeLoop:
    """The answers in hand, and the slots that they use."""

    def __init__(self, decoder: Decoder, *, slots: int, send: Callable[[ToParent], None]) -> None:
        self._decoder = decoder
        self._send = send
        self._free = [Slot(number=n) for n in range(slots)]
        self._waiting: list[Answer] = []
        self._live: list[Answer] = []
        self._steps = 0

    @property
    def idle(self) -> bool:
        """Is there nothing to do?"""
        return not (self._live or self._waiting)

    def add(self, answer: Answer) -> None:
        """Take a request; it waits until a slot is free. Its prompt must fit a slot."""
        self._waiting.append(answer)

    def drop(self, number: int) -> None:
        """Stop working on a request, wherever it is."""
        self._waiting = [answer for answer in self._waiting if answer.number != number]
        for answer in [answer for answer in self._live if answer.number == number]:
            self._end(answer, cut=True)

    def step(self) -> None:
        """Decode one batch and hand out what came of it."""
        self._steps += 1
        self._admit()
        shares = self._shares()
        rows = [row for answer, count in shares for row in _rows(answer, count)]
        result = self._decoder.decode(rows)
        if result != DECODED:
            self._undo(shares, result)
            return
        row = -1
        for answer, count in shares:
            row += count
            answer.stored += count
            if not answer.missing:
                self._take(answer, self._decoder.logits(row))

    def _admit(self) -> None:
        """Give free slots to those who wait, each the one that knows most of its prompt."""
        while self._waiting and self._free:
            answer = self._waiting.pop(0)
            slot = max(self._free, key=lambda s: (_common(s.tokens, answer.tokens), -s.used))
            self._free.remove(slot)
            # The last token is decoded in any case: its logits are what the answer begins with.
            answer.stored = min(_common(slot.tokens, answer.tokens), len(answer.tokens) - 1)
            if not self._decoder.forget(slot.number, answer.stored):
                self._decoder.forget(slot.number, 0)
                answer.stored = 0
            answer.slot = slot
            self._live.append(answer)

    def _shares(self) -> list[tuple[Answer, int]]:
        """Share out the batch: a token to each answer being made, then equal chunks of prompts.

        Short prompts first: what they do not need of their share goes to the longer ones.
        """
        shares = [(answer, 1) for answer in self._live if answer.missing == 1]
        left = min(BATCH_TOKENS_SHARED, BATCH_TOKENS - len(shares)) if shares else BATCH_TOKENS
        prompts = sorted((a for a in self._live if a.missing > 1), key=lambda a: a.missing)
        for at, answer in enumerate(prompts):
            count = min(answer.missing, left // (len(prompts) - at))
            if count > 0:
                shares.append((answer, count))
                left -= count
        return shares

    def _undo(self, shares: list[tuple[Answer, int]], result: int) -> None:
        """Forget a batch. After an abort its answers are tried again; after an error they fail."""
        for answer, _ in shares:
            assert answer.slot is not None
            if not self._decoder.forget(answer.slot.number, answer.stored):
                self._decoder.forget(answer.slot.number, 0)
                answer.stored = 0
            if result != ABORTED:
                self._free_slot(answer)
                detail = f"llama_decode returned {result}"
                self._send(Failed(number=answer.number, reason="error", detail=detail))

    def _take(self, answer: Answer, logits: npt.NDArray[np.float32]) -> None:
        """Choose the answer's next token, and end it where it ends."""
        token = answer.sampler.pick(logits)
        answer.made += 1
        if self._decoder.ends(token):
            self._end(answer, cut=False)
            return
        answer.tokens.append(token)
        self._say(answer, answer.text.add(self._decoder.piece(token)))
        if answer.made >= answer.tokens_max:
            self._end(answer, cut=True)

    def _end(self, answer: Answer, *, cut: bool) -> None:
        self._free_slot(answer)
        self._say(answer, answer.text.end())
        self._send(
            Ended(number=answer.number, tokens=answer.made, cut=cut, left_out=answer.left_out)
        )

    def _free_slot(self, answer: Answer) -> None:
        assert answer.slot is not None
        self._live.remove(answer)
        answer.slot.tokens = answer.tokens[: answer.stored]
        answer.slot.used = self._steps
        self._free.append(answer.slot)

    def _say(self, answer: Answer, text: str) -> None:
        if text:
            self._send(Said(number=answer.number, text=text))


def _rows(answer: Answer, count: int) -> list[Row]:
    """Return the next `count` tokens of an answer as rows of a batch."""
    assert answer.slot is not None
    first, last = answer.stored, len(answer.tokens) - 1
    return [
        Row(answer.tokens[at], at, answer.slot.number, at == last)
        for at in range(first, first + count)
    ]


def _common(left: list[int], right: list[int]) -> int:
    """Return how many tokens two sequences have in common at their beginnings."""
    for at, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return at
    return min(len(left), len(right))
