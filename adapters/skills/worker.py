"""The worker process: loads the skills it is told of, then runs one call at a time.

Started by `process.py` as `python -m adapters.skills.worker FD PARENT`; reads frames of the host
from that socket and writes frames back. What a skill prints leads nowhere: standard output is no
part of the protocol. What it never does: outlive its parent, tell the host an exception's text (it
may quote what a person wrote), or keep anything from one call to the next.
"""

import ctypes
import importlib
import inspect
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from adapters.skills import wire
from adapters.skills.base import ModelUnavailable, SessionFacts, SkillContext
from engine.errors import Refused

PR_SET_PDEATHSIG = 1
"""Source: linux/prctl.h"""


def main() -> None:
    """Serve the host until it goes."""
    fd, parent = int(sys.argv[1]), int(sys.argv[2])
    _die_with(parent)
    # A process that a skill starts must not hold the way to the host open.
    os.set_inheritable(fd, False)
    Worker(socket.socket(fileno=fd)).serve()


def _die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent dies, even while a call hangs."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("the host died before its worker began")


def load(target: str) -> Callable[..., Any]:
    """The class at `module:Class`. Raises whatever its import raises."""
    module, _, name = target.partition(":")
    found = getattr(importlib.import_module(module), name)
    if not callable(found):
        raise TypeError(f"{target} is no class")
    return found  # type: ignore[no-any-return]


class Worker:
    """One process's state: the socket, and the classes that were loaded."""

    def __init__(self, host: socket.socket) -> None:
        self._host = host
        self._classes: dict[str, Callable[..., Any]] = {}
        self._broken: dict[str, str] = {}

    def serve(self) -> None:
        """Answer one frame after another until the host closes its end."""
        while (frame := self._read()) is not None:
            match frame:
                case wire.Load():
                    self._load(frame)
                case wire.Call():
                    self._write(self._call(frame))
                case wire.Describe():
                    self._write(_describe(frame.target))
                case wire.Answer():
                    raise SystemExit("an answer that nothing asked for")

    def _load(self, frame: wire.Load) -> None:
        for name, target in frame.targets.items():
            try:
                self._classes[name] = load(target)
            except BaseException as error:  # one plugin's SystemExit must not take the others along
                self._broken[name] = type(error).__name__
        self._write(wire.Loaded(broken=self._broken))

    def _call(self, call: wire.Call) -> wire.Done | wire.Failed:
        made = self._classes.get(call.skill)
        if made is None:
            exception = self._broken.get(call.skill, "KeyError")
            return wire.Failed(n=call.n, where="import", exception=exception)
        where = "construct"
        try:
            skill = made(self._context(call))
            where = "execute"
            text = skill.execute(call.text)
            where = "return"
            return wire.Done(n=call.n, text=_sendable(text))
        except BaseException as error:  # SystemExit too: `exit()` ends the call, not the worker
            return wire.Failed(
                n=call.n,
                where=where,
                exception=type(error).__name__,
                refused=isinstance(error, Refused),
            )

    def _context(self, call: wire.Call) -> SkillContext:
        return SkillContext(
            settings=msgspec.json.decode(call.settings, type=dict[str, Any]),
            session=SessionFacts(id=call.session_id),
            request_id=call.request_id,
            deadline_ms=call.deadline_ms,
            locale=call.locale,
            model_languages=call.model_languages,
            ask=partial(self._ask, call.n) if call.has_model else None,
            ends_at_s=time.monotonic() + call.within_ms / 1000,
        )

    def _ask(self, n: int, prompt: str, max_tokens: int, within_ms: int) -> str:
        # One conversation at a time: a second thread would take the first one's answer.
        elsewhere = threading.current_thread() is not threading.main_thread()
        if elsewhere or len(prompt.encode()) > wire.TEXT_BYTES_MAX:
            raise ModelUnavailable("refused")
        self._write(wire.Ask(n=n, prompt=prompt, max_tokens=max_tokens, within_ms=within_ms))
        answer = self._read()
        if not isinstance(answer, wire.Answer):
            raise SystemExit("the host closed its end during a model call")
        if answer.text is None:
            raise ModelUnavailable(answer.reason)  # type: ignore[arg-type]
        return answer.text

    def _write(self, frame: wire.ToHost) -> None:
        self._host.sendall(wire.pack(frame))

    def _read(self) -> wire.ToWorker | None:
        head = self._exactly(wire.LENGTH_BYTES)
        return wire.to_worker(self._exactly(wire.body_length(head))) if head else None

    def _exactly(self, length: int) -> bytes:
        """So many bytes; none at all where the host is gone."""
        parts = bytearray()
        while len(parts) < length:
            part = self._host.recv(length - len(parts))
            if not part:
                return b""
            parts += part
        return bytes(parts)


def _sendable(text: object) -> str:
    if not isinstance(text, str):
        raise TypeError("execute must return text")
    encoded = text.encode()  # a lone surrogate is told here, as the skill's error
    return encoded[: wire.TEXT_BYTES_MAX].decode(errors="ignore")


def _describe(target: str) -> wire.Described | wire.Failed:
    where = "import"
    try:
        made = load(target)
        where = "get_metadata"
        metadata = _metadata(made)
        where = "metadata"
        return wire.Described(metadata=msgspec.json.encode(metadata))
    except BaseException as error:
        return wire.Failed(n=0, where=where, exception=type(error).__name__)


def _metadata(made: Callable[..., Any]) -> object:
    """A method, a class method, a static method or a plain function in the class: all work."""
    get_metadata = made.get_metadata  # type: ignore[attr-defined]
    if not inspect.signature(get_metadata).parameters:
        return get_metadata()
    return made(SkillContext()).get_metadata()


if __name__ == "__main__":
    main()
