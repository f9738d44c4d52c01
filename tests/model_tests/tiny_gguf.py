"""Write a tiny, valid GGUF model with random weights: half a megabyte, 3 000 tokens a second.

It says nonsense, or one sentence that a test gives it, but it is a real model to llama.cpp: a
vocabulary with byte fallback (so that any text goes in and comes out again), chat markers, a chat
template, two layers of attention. Other parts' tests use it too: `write(path)` is all they need.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import gguf
import numpy as np

CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
MARKERS = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
PIECES = [
    *"的一是不了在人有我他这个们中来上大为",
    "你好",
    "谢谢",
    "▁the",
    "▁hello",
    "▁",
    *"etaoinsrhldu",
]
UNKNOWN, CONTROL, BYTE, NORMAL = (
    gguf.TokenType.UNKNOWN,
    gguf.TokenType.CONTROL,
    gguf.TokenType.BYTE,
    gguf.TokenType.NORMAL,
)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The model's sizes, and what it says.

    `says`: its answer to everything, in which no UTF-8 byte may come twice; empty: random nonsense.
    `ends`: the answer ends; else it begins again, for ever.
    """

    width: int = 64
    inner: int = 128
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    context: int = 2048
    seed: int = 0
    says: str = ""
    ends: bool = True
    chat_template: str | None = CHAT_TEMPLATE


USUAL = Shape()


def write(path: Path, shape: Shape = USUAL) -> Path:
    """Write the model to `path`; return `path`."""
    writer = gguf.GGUFWriter(str(path), "llama")
    _write_shape(writer, shape)
    tokens = _write_vocabulary(writer)
    if shape.chat_template is not None:
        writer.add_chat_template(shape.chat_template)
    _write_tensors(writer, shape, tokens=tokens)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_name("tiny")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def _write_vocabulary(writer: gguf.GGUFWriter) -> list[str]:
    """Write a SentencePiece vocabulary; return its tokens."""
    special = ["<unk>", "<s>", "</s>", *MARKERS]
    raw = [f"<0x{byte:02X}>" for byte in range(256)]
    tokens = special + raw + PIECES
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [UNKNOWN] + [CONTROL] * (len(special) - 1) + [BYTE] * 256 + [NORMAL] * len(PIECES)
    )
    scores = [0.0] * (len(special) + 256) + [-float(n) for n in range(len(PIECES))]
    writer.add_token_scores(scores)
    writer.add_vocab_size(len(tokens))
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(tokens.index("<s>"))
    # The end of a message is the end of an answer, as in the published chat models.
    writer.add_eos_token_id(tokens.index("<|end|>"))
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    return tokens


def _write_tensors(writer: gguf.GGUFWriter, shape: Shape, *, tokens: list[str]) -> None:
    chance = np.random.default_rng(shape.seed)

    def random(rows: int, columns: int) -> "np.typing.NDArray[np.float32]":
        return (chance.standard_normal((rows, columns)) * 0.05).astype(np.float32)

    def norm(name: str) -> None:
        writer.add_tensor(name, np.ones(shape.width, np.float32))

    kv_width = shape.kv_heads * shape.width // shape.heads
    # Layers that add nothing leave a token's own embedding to decide what comes next.
    heard = 0.0 if shape.says else 1.0
    embeddings = random(len(tokens), shape.width)
    writer.add_tensor("token_embd.weight", embeddings)
    norm("output_norm.weight")
    output = random(len(tokens), shape.width)
    for token, following in _chain(shape, tokens):
        output[following] += embeddings[token] * 20
    writer.add_tensor("output.weight", output)
    for layer in range(shape.layers):
        block = f"blk.{layer}."
        norm(block + "attn_norm.weight")
        norm(block + "ffn_norm.weight")
        writer.add_tensor(block + "attn_q.weight", random(shape.width, shape.width))
        writer.add_tensor(block + "attn_k.weight", random(kv_width, shape.width))
        writer.add_tensor(block + "attn_v.weight", random(kv_width, shape.width))
        writer.add_tensor(block + "attn_output.weight", random(shape.width, shape.width) * heard)
        writer.add_tensor(block + "ffn_gate.weight", random(shape.inner, shape.width))
        writer.add_tensor(block + "ffn_up.weight", random(shape.inner, shape.width))
        writer.add_tensor(block + "ffn_down.weight", random(shape.width, shape.inner) * heard)


def _chain(shape: Shape, tokens: list[str]) -> list[tuple[int, int]]:
    """Return which token follows which in the sentence that the model says."""
    if not shape.says:
        return []
    said = [tokens.index(f"<0x{byte:02X}>") for byte in shape.says.encode()]
    assert len(set(said)) == len(said), f"a byte comes twice in {shape.says!r}"
    chain = [tokens.index("<|assistant|>"), *said, tokens.index("<|end|>")]
    pairs = list(pairwise(chain))
    return pairs if shape.ends else [*pairs[:-1], (said[-1], said[0])]
