"""The child process that holds a GGUF model in memory: the only file that touches llama_cpp.

Place in the data path: started by `models.llama_cpp`, which sends it requests over a socket pair
and gets answers back. A process of its own, because llama.cpp ends its process where it is used
wrongly or its file lies to it: then the engine lives on.

Two threads. The main one decodes. The other reads what the parent sends, so that a `Drop` reaches
a batch that is being decoded: it raises a flag that llama.cpp asks for between two operations. When
the parent is gone, the reader ends the process at once, whatever the main thread does.

What it never does: let llama.cpp print what people wrote, or outlive its parent.
"""

import ctypes
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.effects import PromptLine
from engine.errors import Refused
from models import llama_wire as wire
from models.chat_prompt import ChatTemplate, TooLong, fit
from models.decode_loop import DECODED, Answer, DecodeLoop, Row
from models.llama_wire import BATCH_TOKENS
from models.sampler import Sampler

PR_SET_PDEATHSIG = 1
PIECE_BYTES_MAX = 1_024
LOG_LEVEL_ERROR = 4
ANSWER_SHARE = 2
"""A prompt leaves at least this part (1/n) of its slot to the answer, if that may be so long."""


class Llama:
    """A loaded model with its context: the `Decoder` of the loop, and the tokeniser.

    Raises: Refused where llama.cpp cannot load the file; the text has its own complaint.
    """

    def __init__(self, load: wire.Load) -> None:
        import llama_cpp  # takes half a second; nothing but this process needs it

        self._lib: Any = llama_cpp
        self._complaint = ""
        # llama.cpp keeps only the pointer: without these references the callbacks are freed.
        self._log = llama_cpp.llama_log_callback(self._on_log)
        self._stop = ctypes.create_string_buffer(2)
        self._is_stopped = llama_cpp.ggml_abort_callback(lambda data: self._stop.raw[0] != 0)
        llama_cpp.llama_log_set(self._log, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self._model = self._load_model(load.path)
        self._context = self._new_context(load)
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(BATCH_TOKENS, 0, 1)
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._tokens = int(llama_cpp.llama_vocab_n_tokens(self._vocab))
        self._buffer = ctypes.create_string_buffer(PIECE_BYTES_MAX)
        llama_cpp.llama_set_abort_callback(self._context, self._is_stopped, None)

    def _on_log(self, level: int, text: bytes, data: object) -> None:
        # The first complaint names the cause; what follows only says that it failed.
        if level >= LOG_LEVEL_ERROR and text.strip() and not self._complaint:
            self._complaint = text.decode("utf-8", "replace").strip()

    def _load_model(self, path: str) -> Any:
        model = self._lib.llama_model_load_from_file(
            path.encode(), self._lib.llama_model_default_params()
        )
        if not model:
            raise Refused(f"llama.cpp cannot load it ({self._complaint or 'it does not say why'})")
        return model

    def _new_context(self, load: wire.Load) -> Any:
        params = self._lib.llama_context_default_params()
        params.n_ctx = load.n_ctx * load.slots
        params.n_batch = params.n_ubatch = BATCH_TOKENS
        params.n_seq_max = load.slots
        # Each slot has a part of the cache for itself: then no answer can take another's room.
        params.kv_unified = False
        params.n_threads = params.n_threads_batch = load.n_threads
        params.no_perf = True
        context = self._lib.llama_init_from_model(self._model, params)
        if not context:
            raise Refused(f"llama.cpp cannot use it ({self._complaint or 'it does not say why'})")
        return context

    def template(self) -> ChatTemplate:
        """Return the file's own chat template, ready to render."""
        lib, vocab = self._lib, self._vocab
        source = lib.llama_model_chat_template(self._model, None)
        control = lib.LLAMA_TOKEN_ATTR_CONTROL
        markers = [
            self._text(token)
            for token in range(self._tokens)
            if lib.llama_vocab_get_attr(vocab, token) & control
        ]
        self._bos = self._text(lib.llama_vocab_bos(vocab))
        return ChatTemplate(
            source.decode("utf-8", "replace") if source else None,
            constants={"bos_token": self._bos, "eos_token": self._text(lib.llama_vocab_eos(vocab))},
            markers=markers,
        )

    def _text(self, token: int) -> str:
        if token < 0:
            return ""
        return str(self._lib.llama_vocab_get_text(self._vocab, token).decode("utf-8", "replace"))

    def tokenise(self, text: str) -> list[int]:
        """Return a rendered prompt's tokens, with the mark of its beginning before them."""
        data = text.encode("utf-8", "replace")
        # A template may write the mark itself: twice would be another prompt.
        marked = bool(self._bos) and text.startswith(self._bos)
        room = len(data) + 16
        tokens = (self._lib.llama_token * room)()
        count = self._lib.llama_tokenize(
            self._vocab, data, len(data), tokens, room, not marked, True
        )
        if count < 0:
            raise Refused("llama.cpp cannot tokenise the prompt")
        return list(tokens[:count])

    def stop(self) -> None:
        """Abort the batch that is being decoded. Called from the reader's thread."""
        self._stop[0] = b"\x01"

    def resume(self) -> None:
        """Let the next batch be decoded."""
        self._stop[0] = b"\x00"

    def decode(self, rows: Sequence[Row]) -> int:
        """See `Decoder`."""
        assert len(rows) <= BATCH_TOKENS
        batch = self._batch
        for at, row in enumerate(rows):
            batch.token[at] = row.token
            batch.pos[at] = row.position
            batch.n_seq_id[at] = 1
            batch.seq_id[at][0] = row.slot
            batch.logits[at] = row.wanted
        batch.n_tokens = len(rows)
        return int(self._lib.llama_decode(self._context, batch))

    def logits(self, row: int) -> npt.NDArray[np.float32]:
        """See `Decoder`."""
        pointer = self._lib.llama_get_logits_ith(self._context, row)
        return np.ctypeslib.as_array(pointer, shape=(self._tokens,))

    def forget(self, slot: int, position: int) -> bool:
        """See `Decoder`."""
        return bool(self._lib.llama_memory_seq_rm(self._memory, slot, position, -1))

    def piece(self, token: int) -> bytes:
        """See `Decoder`."""
        length = self._lib.llama_token_to_piece(
            self._vocab, token, self._buffer, PIECE_BYTES_MAX, 0, False
        )
        return self._buffer.raw[: max(0, length)]

    def ends(self, token: int) -> bool:
        """See `Decoder`."""
        return bool(self._lib.llama_vocab_is_eog(self._vocab, token))


class Child:
    """The main thread's part: takes messages, decodes while there is work, sends what comes."""

    def __init__(self, wire_end: socket.socket, load: wire.Load) -> None:
        self._wire = wire_end
        self._n_ctx = load.n_ctx
        self._messages: queue.SimpleQueue[wire.ToChild] = queue.SimpleQueue()
        self._llama = Llama(load)
        self._template = self._llama.template()
        self._loop = DecodeLoop(self._llama, slots=load.slots, send=self._send)
        self._check()

    def _check(self) -> None:
        """Refuse a model that loads but does not work, before anybody asks it something."""
        tokens = self._tokenise([PromptLine(role="user", text="Hello")])[:BATCH_TOKENS]
        rows = [Row(token, at, 0, at == len(tokens) - 1) for at, token in enumerate(tokens)]
        result = self._llama.decode(rows)
        if result != DECODED:
            raise Refused(f"llama.cpp cannot decode with it (llama_decode returned {result})")
        if not np.isfinite(self._llama.logits(len(rows) - 1)).all():
            raise Refused("its weights are damaged: it computes what are no numbers")
        self._llama.forget(0, 0)

    def run(self) -> None:
        """Work for ever; the reader ends the process."""
        self._send(wire.Loaded(template=self._template.digest))
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            # The flag falls before the messages are taken: one that raised it later stays raised.
            self._llama.resume()
            while self._loop.idle or not self._messages.empty():
                self._take(self._messages.get())
            self._loop.step()

    def _read(self) -> None:
        while True:
            message = receive(self._wire)
            self._messages.put(message)
            if isinstance(message, wire.Drop):
                self._llama.stop()

    def _take(self, message: wire.ToChild) -> None:
        match message:
            case wire.Ask():
                self._ask(message)
            case wire.Drop(number=number):
                self._loop.drop(number)

    def _ask(self, ask: wire.Ask) -> None:
        room = self._n_ctx - min(ask.max_tokens, self._n_ctx // ANSWER_SHARE)
        try:
            tokens, left_out = fit(ask.lines, tokens_max=room, tokenise=self._tokenise)
        except TooLong:
            detail = f"the prompt has no room in the model's context of {self._n_ctx} tokens"
            self._send(wire.Failed(number=ask.number, reason="refused", detail=detail))
            return
        except Refused as error:
            self._send(wire.Failed(number=ask.number, reason="refused", detail=str(error)))
            return
        sampler = Sampler(
            seed=ask.seed,
            temperature_permille=ask.temperature_permille,
            repeat_penalty_permille=ask.repeat_penalty_permille,
            top_p_permille=ask.top_p_permille,
        )
        self._loop.add(
            Answer(
                number=ask.number,
                tokens=tokens,
                tokens_max=min(ask.max_tokens, self._n_ctx - len(tokens)),
                sampler=sampler,
                left_out=left_out,
            )
        )

    def _tokenise(self, lines: Sequence[PromptLine]) -> list[int]:
        return self._llama.tokenise(self._template.render(lines))

    def _send(self, message: wire.ToParent) -> None:
        self._wire.sendall(wire.frame(message))


def receive(wire_end: socket.socket) -> wire.ToChild:
    """Return the parent's next message; end the process when there is no parent any more."""
    head = wire_end.recv(wire.LENGTH_BYTES, socket.MSG_WAITALL)
    if len(head) < wire.LENGTH_BYTES:
        os._exit(0)
    body = wire_end.recv(wire.body_bytes(head), socket.MSG_WAITALL)
    message: wire.ToChild = wire.to_child.decode(body)
    return message


def main() -> None:
    """Run on the socket whose number is the only argument."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # A terminal's Ctrl-C goes to all its processes, and so does the signal of timeout(1) or of a
    # supervisor that stops a whole group; the parent decides when this one ends.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    wire_end = socket.socket(fileno=int(sys.argv[1]))
    load = receive(wire_end)
    assert isinstance(load, wire.Load)
    try:
        child = Child(wire_end, load)
    except Refused as error:
        wire_end.sendall(wire.frame(wire.CannotLoad(text=str(error))))
        return
    child.run()


if __name__ == "__main__":
    main()
