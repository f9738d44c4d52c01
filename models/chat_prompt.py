"""Render a prompt with the chat template that a GGUF file brings, and make it fit.

Place in the data path: inside the llama.cpp child, before tokens are decoded.

A chat template is a program in a file from somewhere: it runs in jinja2's immutable sandbox, with
bounds on its length, its time, what it may multiply and what it may make. What people wrote is
data: a marker such as `<|im_end|>` in it is broken up, so nobody can speak as the system.

What it never does: import llama_cpp. How many tokens a text has is told by a function it is given.
"""

import hashlib
import re
import signal
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.effects import PromptLine
from engine.errors import Refused

TEMPLATE_CHARS_MAX = 64 * 1024
RENDERED_CHARS_MAX = 1 << 20
RENDER_S_MAX = 1.0
"""A usual template renders forty lines in a millisecond."""
OPERAND_MAX = 10_000
"""What a template may multiply by or raise to: `'x' * 10**9` would take all memory."""

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""For a file without a template: what most models have seen."""

Tokens = list[int]
Tokenise = Callable[[Sequence[PromptLine]], Tokens]
"""Render these lines and return their tokens."""


class TooLong(Exception):
    """Even the shortest form of a prompt has no room."""


class ChatTemplate:
    """One model's chat template, compiled.

    Args:
        source: the template, or None for ChatML.
        constants: the texts of the tokens that it may name: `bos_token`, `eos_token`.
        markers: the texts of the model's control tokens.

    Raises: Refused where the template is too long or no valid template.
    """

    def __init__(
        self, source: str | None, *, constants: dict[str, str], markers: Sequence[str]
    ) -> None:
        source = source or CHATML
        if len(source) > TEMPLATE_CHARS_MAX:
            raise Refused(f"its chat template has {len(source)} characters; 65536 are allowed")
        self.digest = hashlib.sha256(source.encode()).hexdigest()[:12]
        self._constants = constants
        named = sorted((re.escape(m) for m in markers if len(m) > 1), key=len, reverse=True)
        self._markers = re.compile("|".join(named)) if named else None
        environment = _Sandbox(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _raise
        try:
            self._template = environment.from_string(source)
        except (jinja2.TemplateError, RecursionError) as error:
            raise Refused(f"its chat template is not valid: {error}") from error

    def render(self, lines: Sequence[PromptLine]) -> str:
        """Return the prompt's text, with the opening of the answer at its end.

        Raises: Refused where the template fails on these lines or goes beyond its bounds.
        """
        merged = _merge([(line.role, self._harmless(line.text)) for line in lines])
        try:
            return self._run(merged)
        except jinja2.TemplateError:
            # Some templates know no system role; then it stands before the first message.
            return self._last_try(_without_system(merged))

    def _last_try(self, messages: list[tuple[str, str]]) -> str:
        try:
            return self._run(messages)
        except jinja2.TemplateError as error:
            raise Refused(f"the model's chat template fails: {type(error).__name__}") from error

    def _run(self, messages: list[tuple[str, str]]) -> str:
        said = [{"role": role, "content": text} for role, text in messages]
        parts, size = [], 0
        try:
            with _time_limit():
                for part in self._template.generate(
                    messages=said, add_generation_prompt=True, **self._constants
                ):
                    parts.append(part)
                    size += len(part)
                    if size > RENDERED_CHARS_MAX:
                        raise jinja2.TemplateError("it makes too much text")
        except jinja2.TemplateError:
            raise
        except Exception as error:  # a template can fail in every way that Python can
            raise jinja2.TemplateError(type(error).__name__) from error
        return "".join(parts)

    def _harmless(self, text: str) -> str:
        """Return the text with a space in each marker: it reads the same and means nothing."""
        if self._markers is None:
            return text
        return self._markers.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)


def fit(lines: Sequence[PromptLine], *, tokens_max: int, tokenise: Tokenise) -> tuple[Tokens, int]:
    """Return the prompt's tokens, at most `tokens_max`, and how many lines were left out.

    The oldest lines of the transcript go first; system lines and the last line stay. If that is not
    enough, the last line loses its middle: instructions stand at a text's ends.

    Raises: TooLong where not even that fits.
    """
    system = [line for line in lines if line.role == "system"]
    rest = [line for line in lines if line.role != "system"]
    tried: dict[int, Tokens] = {}

    def fits(left_out: int) -> bool:
        tried[left_out] = tokenise([*system, *rest[left_out:]])
        return len(tried[left_out]) <= tokens_max

    # Nearly every prompt fits whole: then one look is enough.
    least = 0 if rest and fits(0) else bisect_left(range(len(rest)), True, key=fits)
    if least < len(rest):
        return tried[least], least
    if not rest:
        raise TooLong
    return _shortened(system, rest[-1], tokens_max=tokens_max, tokenise=tokenise), len(rest) - 1


def _shortened(
    system: list[PromptLine],
    last: PromptLine,
    *,
    tokens_max: int,
    tokenise: Tokenise,
) -> Tokens:
    tried: dict[int, Tokens] = {}

    def fits(cut: int) -> bool:
        kept = len(last.text) - cut
        head, tail = last.text[: kept - kept // 2], last.text[len(last.text) - kept // 2 :]
        tried[cut] = tokenise([*system, PromptLine(role=last.role, text=f"{head}\n…\n{tail}")])
        return len(tried[cut]) <= tokens_max

    least = bisect_left(range(len(last.text)), True, key=fits)
    if least not in tried or len(tried[least]) > tokens_max:
        raise TooLong
    return tried[least]


def _merge(messages: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Join neighbours of one role: many templates insist that roles alternate."""
    merged: list[tuple[str, str]] = []
    for role, text in messages:
        if merged and merged[-1][0] == role:
            merged[-1] = (role, f"{merged[-1][1]}\n{text}")
        else:
            merged.append((role, text))
    return merged


def _without_system(messages: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return _merge([("user" if role == "system" else role, text) for role, text in messages])


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


class _Sandbox(ImmutableSandboxedEnvironment):
    """The sandbox, with a bound on what grows without a loop."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(
        self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any
    ) -> Any:
        if any(not isinstance(side, int) or abs(side) > OPERAND_MAX for side in (left, right)):
            raise jinja2.TemplateError(f"{operator} is for numbers up to {OPERAND_MAX} here")
        if operator == "**" and right > 16:
            raise jinja2.TemplateError("the exponent is too big")
        return super().call_binop(context, operator, left, right)


@contextmanager
def _time_limit() -> Iterator[None]:
    """Stop a template that runs for ever. The child renders in its main thread: signals work."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise jinja2.TemplateError("it takes too long")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, RENDER_S_MAX)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
