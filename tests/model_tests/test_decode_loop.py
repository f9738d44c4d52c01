"""Sharing batches between answers changes none of them, whatever comes and goes.

The decoder here is no language model, but it is exact: it keeps the KV cache as llama.cpp would,
insists that each row continues its slot, and makes each next token from all that came before it.
"""

from collections.abc import Sequence
from zlib import crc32

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from models.decode_loop import ABORTED, DECODED, Answer, DecodeLoop, Row
from models.llama_wire import BATCH_TOKENS, Ended, Failed, Said, ToParent
from models.sampler import Sampler

VOCABULARY = 26
END = 25


def following(tokens: Sequence[int]) -> int:
    """The token after these: any of the letters, now and then the end."""
    return crc32(bytes(token % 256 for token in tokens)) % VOCABULARY


def alone(prompt: Sequence[int], tokens_max: int) -> str:
    """What this prompt is answered when nobody else is there."""
    tokens, text = list(prompt), ""
    for _ in range(tokens_max):
        token = following(tokens)
        if token == END:
            break
        tokens.append(token)
        text += chr(ord("a") + token)
    return text


class ExactDecoder:
    """A `Decoder` with a KV cache of lists. `results`: what its next batches come to."""

    def __init__(self, slots: int, *, whole_only: bool = False) -> None:
        self.cache: list[list[int]] = [[] for _ in range(slots)]
        self.results: list[int] = []
        self.decoded = 0
        self._whole_only = whole_only
        self._next: list[int] = []

    def decode(self, rows: Sequence[Row]) -> int:
        assert 0 < len(rows) <= BATCH_TOKENS
        result = self.results.pop(0) if self.results else DECODED
        self.decoded += len(rows)
        self._next = []
        for row in rows:
            assert row.position == len(self.cache[row.slot])
            self.cache[row.slot].append(row.token)
            self._next.append(following(self.cache[row.slot]) if row.wanted else -1)
        return result

    def logits(self, row: int) -> npt.NDArray[np.float32]:
        assert self._next[row] >= 0
        wanted = np.zeros(VOCABULARY, np.float32)
        wanted[self._next[row]] = 1
        return wanted

    def forget(self, slot: int, position: int) -> bool:
        if self._whole_only and 0 < position < len(self.cache[slot]):
            return False
        del self.cache[slot][position:]
        return True

    def piece(self, token: int) -> bytes:
        return bytes([ord("a") + token])

    def ends(self, token: int) -> bool:
        return token == END


class Answers:
    """Collects what the loop sends."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        self.ends: dict[int, Ended | Failed] = {}

    def take(self, message: ToParent) -> None:
        assert isinstance(message, Said | Ended | Failed)
        assert message.number not in self.ends
        if isinstance(message, Said):
            self.texts[message.number] = self.texts.get(message.number, "") + message.text
        else:
            self.ends[message.number] = message


def question(number: int, prompt: Sequence[int], *, tokens_max: int) -> Answer:
    sampler = Sampler(seed=0, temperature_permille=0, top_p_permille=1000)
    return Answer(number=number, tokens=list(prompt), tokens_max=tokens_max, sampler=sampler)


PROMPT = st.one_of(
    st.lists(st.integers(0, 255), min_size=1, max_size=300),
    st.lists(st.just(7), min_size=1, max_size=300),  # many have a beginning in common
)
MOVE = st.one_of(
    st.tuples(st.just("ask"), PROMPT, st.integers(1, 40)),
    st.tuples(st.just("drop"), st.integers(0, 20)),
    st.tuples(st.just("abort")),
    st.tuples(st.just("step"), st.integers(1, 30)),
)


@given(st.integers(1, 4), st.booleans(), st.lists(MOVE, max_size=25))
def test_an_answer_is_the_same_alone_and_among_others(
    slots: int, whole_only: bool, moves: list[tuple[object, ...]]
) -> None:
    decoder, answers = ExactDecoder(slots, whole_only=whole_only), Answers()
    loop = DecodeLoop(decoder, slots=slots, send=answers.take)
    asked: dict[int, tuple[list[int], int]] = {}
    dropped: set[int] = set()
    for move in moves:
        match move:
            case ("ask", list(prompt), int(tokens_max)):
                asked[len(asked)] = (prompt, tokens_max)
                loop.add(question(len(asked) - 1, prompt, tokens_max=tokens_max))
            case ("drop", int(number)):
                dropped.add(number)
                loop.drop(number)
            case ("abort",):
                decoder.results.append(ABORTED)
            case ("step", int(times)):
                for _ in range(times):
                    if not loop.idle:
                        loop.step()
    while not loop.idle:
        loop.step()
    for number, (prompt, tokens_max) in asked.items():
        whole, text = alone(prompt, tokens_max), answers.texts.get(number, "")
        if number in dropped:
            assert whole.startswith(text)
        else:
            assert text == whole
            assert isinstance(answers.ends[number], Ended)


def test_the_next_turn_of_a_conversation_decodes_only_what_is_new() -> None:
    decoder, answers = ExactDecoder(2), Answers()
    loop = DecodeLoop(decoder, slots=2, send=answers.take)

    def tokens_decoded(number: int, prompt: list[int]) -> int:
        before = decoder.decoded
        loop.add(question(number, prompt, tokens_max=1))
        while not loop.idle:
            loop.step()
        return decoder.decoded - before

    first, other = [1] * 500, [2] * 500
    assert tokens_decoded(0, first) == 500
    assert tokens_decoded(1, other) == 500
    assert tokens_decoded(2, [*first, 3, 4]) == 2
    assert tokens_decoded(3, [*other, 3, 4, 5]) == 3
    assert tokens_decoded(4, [*first, 3, 4]) == 1  # the last one is always needed


def test_a_long_prompt_does_not_stop_an_answer_that_streams() -> None:
    decoder, answers = ExactDecoder(2), Answers()
    loop = DecodeLoop(decoder, slots=2, send=answers.take)
    streaming = next([n] for n in range(99) if len(alone([n], 30)) == 30)
    loop.add(question(0, streaming, tokens_max=30))
    loop.step()
    loop.add(question(1, [1] * 2_000, tokens_max=1))
    for _ in range(10):
        before = len(answers.texts[0])
        loop.step()
        assert len(answers.texts[0]) == before + 1
    assert 1 not in answers.ends


def test_an_error_of_the_decoder_ends_those_in_the_batch_and_no_others() -> None:
    decoder, answers = ExactDecoder(2), Answers()
    loop = DecodeLoop(decoder, slots=2, send=answers.take)
    for number in range(3):
        loop.add(question(number, [number] * 10, tokens_max=5))
    decoder.results = [-3]
    while not loop.idle:
        loop.step()
    assert [isinstance(answers.ends[n], Failed) for n in range(3)] == [True, True, False]
    assert answers.texts.get(2, "") == alone([2] * 10, 5)
