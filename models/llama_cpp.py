"""Runner for GGUF models: llama.cpp in a child process that this file owns.

Place in the data path: behind the `ModelRunner` port, beside the engine's event loop. A request
goes to the child (`models.llama_process`, `models.llama_child`) and comes back as an outcome. When
the child dies, every request in its hands ends as `ModelFailed(died)`, and the next request starts
a new one.

What it never does: import llama_cpp, block the event loop, or log what people wrote.
"""

import asyncio
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

from engine.effects import ModelRequest
from engine.errors import Refused
from engine.events import FailureReason, MadeBy, ModelFailed, ModelReplied, Outcome
from models import llama_wire as wire
from models.free_memory import available_bytes
from models.gguf_header import GgufHeader, find_model, read_header
from models.llama_process import ChildProcess, Show

CONTEXT_STEP = 256
"""llama.cpp rounds the context of a slot up to this: so we ask for no other numbers."""
SLOTS_MAX = 64
THREADS_MAX = 256


@dataclass(frozen=True, kw_only=True)
class LlamaSettings:
    """How to load a model and how it answers.

    `model_path`: a .gguf file, or a folder with exactly one. `n_ctx`: tokens that one conversation
    may take, prompt and answer together; beyond what the model was trained for none are used.
    `slots`: conversations decoded at the same time, 1 to 64. `n_threads`: leave a core to the
    engine. `temperature_permille`: 0 always says the likeliest. `repeat_penalty_permille`: 1 000 is
    none; small models need some, or they say one thing for ever. `max_tokens`: most in one answer,
    whatever a request asks for. `timeout_s`: an answer that takes longer is given up.
    """

    model_path: Path
    n_ctx: int = 4096
    slots: int = 4
    n_threads: int = 1
    temperature_permille: int = 200
    repeat_penalty_permille: int = 1_100
    top_p_permille: int = 900
    max_tokens: int = 512
    timeout_s: float = 120.0


class LlamaCpp:
    """The `ModelRunner` for a GGUF file: `start` it, `run` requests, `close` it."""

    def __init__(self, settings: LlamaSettings) -> None:
        self._settings = settings
        self._weights = ""
        self._child: ChildProcess | None = None
        self._starting = asyncio.Lock()
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The child's process number; None where none is alive."""
        return self._child.pid if self._child and not self._child.death else None

    async def start(self) -> None:
        """Check file and memory, then load the model.

        Raises: Refused, before anything is loaded, where a setting makes no sense, or the file is
        missing, damaged or too big for the memory; later, where llama.cpp cannot use it.
        """
        _check(self._settings)
        # In this order: hashing a big file takes a while, and what is wrong should be said at once.
        load = await asyncio.to_thread(self._load)
        self._weights = await asyncio.to_thread(_weights, Path(load.path))
        await self._ready()

    async def close(self) -> None:
        """End the child; requests in its hands end as `ModelFailed(died)`."""
        self._closed = True
        async with self._starting:
            if self._child is not None:
                await self._child.kill()

    async def run(self, request: ModelRequest, show: Show) -> Outcome:
        """Answer one request; see `ModelRunner`."""
        began = time.monotonic()
        try:
            child = await self._ready()
        except Refused as error:
            return self._failed(request, "unavailable", detail=str(error), began=began)
        try:
            pending = child.ask(lambda number: self._ask(number, request), show)
        except UnicodeEncodeError:
            return self._failed(
                request, "refused", detail="the prompt is not valid Unicode", began=began
            )
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                end = await pending.ended
        except TimeoutError:
            if child.heard < began:  # not one word in all that time, to anybody: it hangs
                await child.kill()
            detail = f"no whole answer within {self._settings.timeout_s:g} s"
            return self._failed(request, "timeout", detail=detail, began=began)
        finally:
            child.drop(pending)
        if end is None:
            return self._failed(request, "died", detail=child.death, began=began)
        if isinstance(end, wire.Failed):
            return self._failed(request, end.reason, detail=end.detail, began=began)
        if not pending.text:
            return self._failed(request, "empty", detail="", began=began)
        made_by = self._made_by(request, began=began, tokens=end.tokens)
        return ModelReplied(text=pending.text, cut=end.cut, made_by=made_by)

    async def _ready(self) -> ChildProcess:
        """Return a living child; start one where there is none. Raises: Refused."""
        async with self._starting:
            if self._closed:
                raise Refused("the model runner is closed")
            if self._child is None or self._child.death:
                self._child = await ChildProcess.start(await asyncio.to_thread(self._load))
            return self._child

    def _load(self) -> wire.Load:
        """Return what the child is to load, if there is memory for it. Raises: Refused."""
        settings = self._settings
        header = read_header(find_model(settings.model_path))
        n_ctx = _context(settings.n_ctx, header)
        needed = header.memory_bytes(tokens=n_ctx * settings.slots, batch=wire.BATCH_TOKENS)
        free = available_bytes()
        if needed > free:
            raise Refused(
                f"the model {header.path} needs about {_mib(needed)} of memory (weights "
                f"{_mib(header.tensor_bytes)}, {settings.slots} slots of {n_ctx} tokens "
                f"{_mib(header.kv_bytes(n_ctx * settings.slots))}), and {_mib(free)} are free. "
                "Take a smaller or more quantised model, or lower n_ctx or slots."
            )
        return wire.Load(
            path=str(header.path),
            n_ctx=n_ctx,
            slots=settings.slots,
            n_threads=settings.n_threads,
        )

    def _ask(self, number: int, request: ModelRequest) -> wire.Ask:
        return wire.Ask(
            number=number,
            lines=request.lines,
            max_tokens=max(1, min(request.max_tokens, self._settings.max_tokens)),
            seed=_seed(request),
            temperature_permille=self._settings.temperature_permille,
            repeat_penalty_permille=self._settings.repeat_penalty_permille,
            top_p_permille=self._settings.top_p_permille,
        )

    def _failed(
        self, request: ModelRequest, reason: FailureReason, *, detail: str, began: float
    ) -> ModelFailed:
        made_by = self._made_by(request, began=began, tokens=0)
        return ModelFailed(reason=reason, detail=detail, made_by=made_by)

    def _made_by(self, request: ModelRequest, *, began: float, tokens: int) -> MadeBy:
        settings = self._settings
        sampler = "greedy"
        if settings.temperature_permille:
            sampler = (
                f"temperature {settings.temperature_permille}‰, "
                f"top-p {settings.top_p_permille}‰, seed {_seed(request)}"
            )
        if settings.repeat_penalty_permille != 1_000:
            sampler += f", repeat penalty {settings.repeat_penalty_permille}‰"
        return MadeBy(
            runner="llama.cpp",
            weights=self._weights,
            template=self._child.template if self._child else "",
            sampler=sampler,
            request_digest=request.request_digest,
            latency_ms=int(1000 * (time.monotonic() - began)),
            tokens=tokens,
        )


def _check(settings: LlamaSettings) -> None:
    """Refuse numbers that llama.cpp would end its process for."""
    for name, value, least, most in (
        ("n_ctx", settings.n_ctx, CONTEXT_STEP, 1 << 20),
        ("slots", settings.slots, 1, SLOTS_MAX),
        ("n_threads", settings.n_threads, 1, THREADS_MAX),
        ("temperature_permille", settings.temperature_permille, 0, 5_000),
        ("repeat_penalty_permille", settings.repeat_penalty_permille, 1_000, 2_000),
        ("top_p_permille", settings.top_p_permille, 1, 1_000),
        ("max_tokens", settings.max_tokens, 1, 1 << 20),
    ):
        if not least <= value <= most:
            raise Refused(f"the model's {name} is {value}; {least} to {most} is possible.")


def _context(wanted: int, header: GgufHeader) -> int:
    """Return the tokens of one slot: what was wanted, or less where the model knows less."""
    known = min(wanted, header.context_length or wanted)
    return max(CONTEXT_STEP, known // CONTEXT_STEP * CONTEXT_STEP)


def _weights(path: Path) -> str:
    """Return the file's name and the beginning of its SHA-256."""
    with path.open("rb") as file:
        return f"{path.name}#{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"


def _seed(request: ModelRequest) -> int:
    """Return the same number for the same request, and another one for another."""
    return int.from_bytes(hashlib.sha256(request.effect_id.encode()).digest()[:4], "big")


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"
