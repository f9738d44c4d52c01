"""Reading a GGUF file's header: what is in it, and every way in which a file can be wrong."""

import os
import struct
from pathlib import Path

import gguf
import pytest

from engine.errors import Refused
from models.fetch import fetch_default
from models.free_memory import available_bytes
from models.gguf_header import BLOCKS, find_model, read_header
from tests.model_tests import tiny_gguf


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("model") / "tiny.gguf")


def refusal(path: Path) -> str:
    with pytest.raises(Refused) as refused:
        read_header(path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def damaged(tiny: Path, tmp_path: Path, *, at: int, data: bytes) -> Path:
    """A copy of the tiny model with these bytes at this place."""
    content = bytearray(tiny.read_bytes())
    content[at : at + len(data)] = data
    copy = tmp_path / "damaged.gguf"
    copy.write_bytes(content)
    return copy


def test_the_header_of_a_tiny_model_tells_its_sizes(tiny: Path) -> None:
    header = read_header(tiny)
    weights = sum(tensor.n_bytes for tensor in gguf.GGUFReader(tiny).tensors)
    assert header.architecture == "llama"
    assert header.context_length == 2048
    assert header.embedding_length == 64
    assert header.vocabulary == 7 + 256 + len(tiny_gguf.PIECES)
    assert header.kv_width == 2 * 2 * (16 + 16)  # layers, heads, key and value
    assert header.kv_bytes(10) == 2 * 10 * header.kv_width
    assert weights <= header.tensor_bytes <= header.file_bytes
    assert header.memory_bytes(tokens=1024, batch=128) > header.tensor_bytes + header.kv_bytes(1024)


def test_the_header_of_the_default_model_is_read(tmp_path: Path) -> None:
    header = read_header(fetch_default(tmp_path, lambda line: None))
    assert (header.architecture, header.vocabulary) == ("llama", 49_152)
    assert header.kv_width == 30 * 3 * 2 * 64
    assert 96_000_000 < header.tensor_bytes < header.file_bytes


def test_the_table_of_tensor_types_is_that_of_the_gguf_package() -> None:
    assert {int(kind): sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()} == BLOCKS


def test_a_missing_file_is_named_with_the_fix(tmp_path: Path) -> None:
    assert "ai-assistant models fetch" in refusal(tmp_path / "none.gguf")


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").touch()
    assert "is empty" in refusal(tmp_path / "empty.gguf")


def test_a_folder_is_not_read_as_a_file(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path)


def test_a_page_of_html_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "page.gguf").write_text("<html>404</html>")
    assert "is no GGUF file: it begins with b'<htm'" in refusal(tmp_path / "page.gguf")


@pytest.mark.parametrize("kept", [5, 8, 23, 24, 40, 200, 4_000, 9_000, 60_000, 400_000, -1])
def test_a_truncated_file_is_said_to_be_cut_short(tiny: Path, tmp_path: Path, kept: int) -> None:
    short = tmp_path / "short.gguf"
    short.write_bytes(tiny.read_bytes()[:kept])
    assert "is cut short" in refusal(short)


@pytest.mark.parametrize(
    ("at", "data", "said"),
    [
        (4, struct.pack("<I", 1), "its version is 1"),
        (4, struct.pack(">I", 3), "its version is 50331648"),  # written on a big-endian machine
        (8, struct.pack("<Q", 1 << 40), "claims 1099511627776 tensors"),
        (16, struct.pack("<Q", 1 << 40), "claims 1099511627776 key-value pairs"),
        (24, struct.pack("<Q", 1 << 62), "is cut short"),
        (24, struct.pack("<Q", (1 << 64) - 1), "is cut short"),
    ],
)
def test_a_header_that_lies_is_refused(
    tiny: Path, tmp_path: Path, at: int, data: bytes, said: str
) -> None:
    assert said in refusal(damaged(tiny, tmp_path, at=at, data=data))


def test_a_value_of_an_unknown_type_is_damage(tiny: Path, tmp_path: Path) -> None:
    key = b"general.architecture"
    at = tiny.read_bytes().index(key) + len(key)
    assert "unknown type 77" in refusal(damaged(tiny, tmp_path, at=at, data=struct.pack("<I", 77)))


def test_a_vocabulary_without_end_is_damage(tiny: Path, tmp_path: Path) -> None:
    key = b"tokenizer.ggml.tokens"
    at = tiny.read_bytes().index(key) + len(key) + 8  # after its type and its items' type
    text = refusal(damaged(tiny, tmp_path, at=at, data=struct.pack("<Q", 1 << 40)))
    assert "claims an array of 1099511627776 strings" in text


def test_random_bytes_never_do_more_than_refuse(tiny: Path, tmp_path: Path) -> None:
    content = tiny.read_bytes()
    for at in range(0, 2_000, 7):
        copy = damaged(
            tiny, tmp_path, at=at, data=bytes(255 - byte for byte in content[at : at + 4])
        )
        try:
            read_header(copy)
        except Refused:
            continue


def test_a_model_in_several_files_is_refused_with_the_fix(tmp_path: Path) -> None:
    path = tmp_path / "part.gguf"
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_uint16("split.count", 3)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert "one part of a model in 3 files" in refusal(path)


def test_a_folder_with_one_model_means_that_model(tiny: Path) -> None:
    assert find_model(tiny.parent) == tiny
    assert find_model(tiny) == tiny


def test_a_folder_with_two_models_is_refused_and_both_are_named(tmp_path: Path) -> None:
    for name in ("b.gguf", "a.gguf", "readme.txt"):
        (tmp_path / name).touch()
    with pytest.raises(Refused, match=r"more than one .gguf file \(in it: a.gguf, b.gguf\)"):
        find_model(tmp_path)


def test_a_folder_without_a_model_is_refused_and_its_content_named(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"no .gguf file \(in it: nothing\)"):
        find_model(tmp_path)
    (tmp_path / "model.bin").touch()
    with pytest.raises(Refused, match=r"no .gguf file \(in it: model.bin\)"):
        find_model(tmp_path)


# --- how much memory is free ---------------------------------------------------------------------

GIB = 1 << 30


def machine(root: Path, files: dict[str, str]) -> Path:
    """A root folder with 8 GiB available, and these files of the kernel."""
    meminfo = f"MemTotal: 99 kB\nMemAvailable: {8 * GIB // 1024} kB\n"
    for name, text in {"proc/meminfo": meminfo, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_this_machine_has_some_memory() -> None:
    assert 0 < available_bytes() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_without_control_groups_the_machine_decides(tmp_path: Path) -> None:
    assert available_bytes(machine(tmp_path, {})) == 8 * GIB


def test_the_tightest_control_group_decides(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/pod/container"
    files = {
        "proc/self/cgroup": "0::/pod/container\n",
        f"{group}/memory.max": "max\n",
        f"{group}/memory.current": "5\n",
        "sys/fs/cgroup/pod/memory.max": f"{3 * GIB}\n",
        "sys/fs/cgroup/pod/memory.current": f"{2 * GIB}\n",
        "sys/fs/cgroup/pod/memory.stat": f"anon 7\ninactive_file {GIB // 2}\nactive_file 0\n",
    }
    assert available_bytes(machine(tmp_path, files)) == GIB + GIB // 2


def test_inside_a_container_the_top_group_is_ours(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": f"{GIB}\n",
        "sys/fs/cgroup/memory.current": f"{2 * GIB}\n",
    }
    assert available_bytes(machine(tmp_path, files)) == 0


def test_control_groups_of_version_1_are_read_too(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "7:cpu,cpuacct:/x\n4:memory:/docker/abc\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB}\n",
        "sys/fs/cgroup/memory/memory.stat": f"total_inactive_file {GIB // 4}\n",
    }
    assert available_bytes(machine(tmp_path, files)) == GIB + GIB // 4
