"""Read a GGUF file's header: is the file whole, what is in it, how much memory will it take?

Place in the data path: before it. The llama.cpp runner asks here before it starts a process that
loads the file, `doctor` and `config check` when a person wants to know. Layout of a file: magic,
version, counts; key-value pairs; one record for each tensor; then the tensors' bytes, aligned.

What it never does: import an ML library, read a tensor, or trust a length that the file states.
A wrong file is a `Refused` that says what is wrong with it and what to do.

Source: GGUF specification, ggml repository, docs/gguf.md, versions 2 and 3.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from engine.errors import Refused

MAGIC = b"GGUF"
VERSIONS = (2, 3)
COUNT_MAX = 1 << 20
"""Key-value pairs or tensors in one file; the biggest published models have some thousands."""
STRINGS_MAX = 1 << 22
"""Strings in one array; the biggest vocabularies have half a million merges."""
DIMENSIONS_MAX = 8
"""Of a tensor; ggml itself stops at four."""
KEPT_BYTES_MAX = 1 << 20
KEPT_ITEMS_MAX = 4_096
"""Longer strings and arrays (vocabularies) are passed over: nothing here needs them."""
ALIGNMENT_DEFAULT = 32

STRING, ARRAY = 8, 9
SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip
"""Value type of a key-value pair, and how `struct` reads it."""

BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 40), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36), 41: (128, 18),
}  # fmt: skip
"""Type of a tensor: how many weights are in one block of it, and a block's bytes. A test holds this
table to the gguf package's, which is not imported here because it brings numpy to the engine."""

AGAIN = "Fetch the file again, or point MODEL_PATH to another .gguf file."

Value = int | float | bool | str | tuple["Value", ...] | None


@dataclass(frozen=True, kw_only=True)
class GgufHeader:
    """What a GGUF file says of its model. Sizes in bytes; a count is 0 where the file has none."""

    path: Path
    file_bytes: int
    tensor_bytes: int
    architecture: str
    name: str
    context_length: int
    embedding_length: int
    vocabulary: int
    kv_width: int  # numbers that one token leaves in the KV cache, over all layers

    def kv_bytes(self, tokens: int) -> int:
        """Bytes of a 16-bit KV cache for so many tokens."""
        return 2 * self.kv_width * tokens

    def memory_bytes(self, *, tokens: int, batch: int) -> int:
        """Bytes that the loaded model takes at most: weights, KV cache and working space.

        Args:
            tokens: the KV cache's length, over all sequences.
            batch: most tokens that are decoded at once.
        """
        working = 4 * batch * (self.vocabulary + 16 * self.embedding_length)
        return self.tensor_bytes + self.kv_bytes(tokens) + working + PROCESS_BYTES


PROCESS_BYTES = 128 << 20
"""Interpreter, numpy, vocabulary and allocator slack of the process that loads a model."""


class _Cut(Exception):
    """The file ends before what its header promised."""


class _Odd(Exception):
    """The header says something that no GGUF file says."""


def find_model(path: Path) -> Path:
    """Return the model's file: `path` itself, or the only .gguf file in the folder `path`.

    Raises: Refused where there is none or more than one; the text lists what is there.
    """
    if not path.is_dir():
        return path
    found = sorted(file.name for file in path.iterdir() if file.name.lower().endswith(".gguf"))
    if len(found) == 1:
        return path / found[0]
    there = ", ".join(found or sorted(file.name for file in path.iterdir())) or "nothing"
    wanted = "more than one .gguf file" if found else "no .gguf file"
    raise Refused(
        f"MODEL_PATH {path} is a folder with {wanted} (in it: {there}). "
        "Point MODEL_PATH to the file itself."
    )


def read_header(path: Path) -> GgufHeader:
    """Read and check a file's header; the file's tensors must all be inside the file.

    Raises: Refused, where the file is missing, unreadable, no GGUF, cut short or of several parts.
    """
    try:
        with path.open("rb") as file:
            return _checked(path, file)
    except FileNotFoundError:
        raise Refused(
            f"the model file {path} is not there. Run `ai-assistant models fetch` for the default "
            "model, or point MODEL_PATH to a .gguf file."
        ) from None
    except OSError as error:
        raise Refused(f"the model file {path} cannot be read: {error.strerror}.") from error


def _checked(path: Path, file: BinaryIO) -> GgufHeader:
    size, magic = os.fstat(file.fileno()).st_size, file.read(len(MAGIC))
    if not magic:
        raise Refused(f"the model file {path} is empty. {AGAIN}")
    if magic != MAGIC:
        raise Refused(f"{path} is no GGUF file: it begins with {magic!r}. {AGAIN}")
    try:
        return _header(path, _Cursor(file, size=size))
    except _Cut:
        raise Refused(
            f"{path} is cut short: it has {size} bytes, and its header speaks of more. {AGAIN}"
        ) from None
    except _Odd as error:
        raise Refused(f"{path} is a damaged GGUF file: {error}. {AGAIN}") from None


def _header(path: Path, cursor: "_Cursor") -> GgufHeader:
    version = cursor.number("<I")
    if version not in VERSIONS:
        raise _Odd(f"its version is {version}, and versions 2 and 3 can be read")
    tensors, pairs = cursor.count("tensors"), cursor.count("key-value pairs")
    values: dict[str, Value] = {}
    for _ in range(pairs):
        key = cursor.text()
        values[key] = cursor.value(cursor.number("<I"))
    if _whole(values, "split.count") > 1:
        raise Refused(
            f"{path} is one part of a model in {values['split.count']} files. "
            "Join the parts into one file first (llama-gguf-split --merge)."
        )
    architecture = str(values.get("general.architecture", ""))
    shape = _Shape(values, architecture)
    return GgufHeader(
        path=path,
        file_bytes=cursor.size,
        tensor_bytes=_tensor_bytes(cursor, tensors, alignment=_whole(values, "general.alignment")),
        architecture=architecture,
        name=str(values.get("general.name", "")),
        context_length=shape.whole("context_length"),
        embedding_length=shape.whole("embedding_length"),
        vocabulary=_vocabulary(values, shape),
        kv_width=shape.kv_width(),
    )


def _tensor_bytes(cursor: "_Cursor", tensors: int, *, alignment: int) -> int:
    """Sum the tensors' bytes, having checked that each lies inside the file."""
    total, end = 0, 0
    for _ in range(tensors):
        cursor.text()
        dimensions = [cursor.number("<Q") for _ in range(cursor.dimensions())]
        kind, offset = cursor.number("<I"), cursor.number("<Q")
        size = _bytes_of(kind, dimensions)
        total += size
        end = max(end, offset + size)
    step = alignment or ALIGNMENT_DEFAULT
    start = -(-cursor.at // step) * step
    if start + end > cursor.size:
        raise _Cut
    # A type that is newer than the table counts nothing above: then the file's size is the bound.
    return max(total, cursor.size - start)


def _bytes_of(kind: int, dimensions: list[int]) -> int:
    per_block, block_bytes = BLOCKS.get(kind, (1, 0))
    weights = 1
    for dimension in dimensions:
        weights *= dimension
    return weights // per_block * block_bytes


def _whole(values: dict[str, Value], key: str) -> int:
    value = values.get(key)
    return value if isinstance(value, int) else 0


def _vocabulary(values: dict[str, Value], shape: "_Shape") -> int:
    return shape.whole("vocab_size") or _whole(values, "tokenizer.ggml.tokens")


class _Shape:
    """The numbers that a model's architecture names under its own prefix."""

    def __init__(self, values: dict[str, Value], architecture: str) -> None:
        self._values = values
        self._prefix = architecture + "."

    def whole(self, key: str) -> int:
        return _whole(self._values, self._prefix + key)

    def kv_width(self) -> int:
        """Sum, over the layers, of what one token leaves in the KV cache."""
        layers, heads = self.whole("block_count"), max(1, self.whole("attention.head_count"))
        head = self.whole("embedding_length") // heads
        key = self.whole("attention.key_length") or head
        value = self.whole("attention.value_length") or head
        stated = self._values.get(self._prefix + "attention.head_count_kv")
        if isinstance(stated, tuple):  # some architectures give each layer its own number
            return sum(n for n in stated if isinstance(n, int)) * (key + value)
        kv_heads = stated if isinstance(stated, int) else self.whole("attention.head_count")
        return layers * kv_heads * (key + value)


class _Cursor:
    """Reads the header from front to back, from after the magic, and never beyond the file's end.

    The file is read and not mapped: a mapped file that somebody shortens would end the engine.
    """

    def __init__(self, file: BinaryIO, *, size: int) -> None:
        self._file = file
        self.size = size
        self.at = file.tell()

    def number(self, form: str) -> int:
        return int(self._scalar(form))

    def count(self, what: str) -> int:
        count = self.number("<Q")
        if count > COUNT_MAX:
            raise _Odd(f"it claims {count} {what}")
        return count

    def dimensions(self) -> int:
        count = self.number("<I")
        if count > DIMENSIONS_MAX:
            raise _Odd(f"a tensor of it claims {count} dimensions")
        return count

    def text(self) -> str:
        length = self.number("<Q")
        if length > KEPT_BYTES_MAX:
            self._skip(length)
            return ""
        return self._take(length).decode("utf-8", "replace")

    def value(self, kind: int) -> Value:
        """Read one value; of an array that is too long to keep, its length."""
        if kind in SCALARS:
            return self._scalar(SCALARS[kind])
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            raise _Odd(f"it holds a value of the unknown type {kind}")
        return self._array(self.number("<I"), self.number("<Q"))

    def _array(self, kind: int, length: int) -> Value:
        if kind in SCALARS:
            if length > KEPT_ITEMS_MAX:
                self._skip(length * struct.calcsize(SCALARS[kind]))
                return length
            return tuple(self._scalar(SCALARS[kind]) for _ in range(length))
        if kind != STRING:
            raise _Odd(f"it holds an array of the unknown type {kind}")
        if length > STRINGS_MAX:
            raise _Odd(f"it claims an array of {length} strings")
        for _ in range(length):
            self._skip(self.number("<Q"))
        return length

    def _scalar(self, form: str) -> int | float | bool:
        value: int | float | bool = struct.unpack(form, self._take(struct.calcsize(form)))[0]
        return value

    def _take(self, size: int) -> bytes:
        self._move(size)
        data = self._file.read(size)
        if len(data) < size:
            raise _Cut
        return data

    def _skip(self, size: int) -> None:
        self._move(size)
        self._file.seek(size, os.SEEK_CUR)

    def _move(self, size: int) -> None:
        if self.at + size > self.size:
            raise _Cut
        self.at += size
