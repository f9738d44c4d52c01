"""The child process by its own protocol: what it still decodes after it was told to stop."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.effects import PromptLine
from models import llama_wire as wire
from tests.model_tests import tiny_gguf
from tests.model_tests.tiny_gguf import Shape

ROOT = Path(__file__).resolve().parents[2]
N_CTX = 32_768
WHOLE = 30_000


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says the same again and again, slowly enough to be caught at it."""
    shape = Shape(says="世界🎉 ok", ends=False, context=N_CTX, layers=8)
    return tiny_gguf.write(tmp_path_factory.mktemp("models") / "endless.gguf", shape)


class Talk:
    """Our end of the socket."""

    def __init__(self, ours: socket.socket) -> None:
        self._file = ours.makefile("rwb")

    def send(self, message: wire.ToChild) -> None:
        self._file.write(wire.frame(message))
        self._file.flush()

    def receive(self) -> wire.ToParent:
        length = wire.body_bytes(self._file.read(wire.LENGTH_BYTES))
        message: wire.ToParent = wire.to_parent.decode(self._file.read(length))
        return message

    def until_end(self) -> wire.Ended:
        """Read to the end of a request."""
        while not isinstance(message := self.receive(), wire.Ended):
            assert isinstance(message, wire.Said), message
        return message

    def close(self) -> None:
        self._file.close()


@contextmanager
def child(model: Path) -> Iterator[Talk]:
    """A child with this model loaded, and a wire to it."""
    ours, theirs = socket.socketpair()
    ours.settimeout(60)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "models.llama_child", str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        env={**os.environ, "PYTHONPATH": str(ROOT), "GGML_NO_BACKTRACE": "1"},
    )
    theirs.close()
    talk = Talk(ours)
    try:
        talk.send(wire.Load(path=str(model), n_ctx=N_CTX, slots=2, n_threads=1))
        assert isinstance(talk.receive(), wire.Loaded)
        yield talk
    finally:
        talk.close()
        ours.close()
        assert process.wait(timeout=30) == 0  # the end of the stream is its end


def ask(number: int, text: str = "hi", *, max_tokens: int = WHOLE) -> wire.Ask:
    return wire.Ask(
        number=number,
        lines=(PromptLine(role="user", text=text),),
        max_tokens=max_tokens,
        seed=1,
        temperature_permille=0,
        repeat_penalty_permille=1_000,
        top_p_permille=1000,
    )


def test_an_answer_that_is_dropped_stops_long_before_its_end(endless: Path) -> None:
    with child(endless) as talk:
        talk.send(ask(1))
        talk.receive()
        talk.send(wire.Drop(number=1))
        ended = talk.until_end()
        assert ended.number == 1
        # A thousand tokens a second are decoded here, on a bad day some hundred; whole would be
        # half a minute. What is left is what was on its way when the order came.
        assert ended.tokens < WHOLE / 10


def test_a_prompt_that_is_dropped_while_it_is_read_is_read_no_further(endless: Path) -> None:
    with child(endless) as talk:
        talk.send(ask(1, "长" * 8_000, max_tokens=1))
        talk.send(ask(2, max_tokens=3))  # shares the batches: the first is being read when it ends
        assert talk.until_end().number == 2
        talk.send(wire.Drop(number=1))
        ended = talk.until_end()
        assert (ended.number, ended.tokens) == (1, 0)
        talk.send(ask(3, max_tokens=3))
        assert talk.until_end() == wire.Ended(number=3, tokens=3, cut=True, left_out=0)


def test_dropping_what_is_unknown_or_waiting_harms_nobody(endless: Path) -> None:
    with child(endless) as talk:
        talk.send(wire.Drop(number=99))
        for number in (1, 2, 3):  # for two slots: the third waits
            talk.send(ask(number, max_tokens=200))
        talk.send(wire.Drop(number=3))
        assert {talk_end.number for talk_end in (talk.until_end(), talk.until_end())} == {1, 2}
        talk.send(ask(4, max_tokens=3))
        assert talk.until_end().number == 4
