"""The llama.cpp runner with real GGUF files: tiny ones that tests write, and the default one."""

import asyncio
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import gguf
import msgspec
import numpy as np
import pytest

from engine.effects import PromptLine
from engine.errors import Refused
from engine.events import ModelFailed, ModelReplied, Outcome
from models.fetch import fetch_default
from models.llama_cpp import LlamaCpp, LlamaSettings
from tests.model_tests import tiny_gguf
from tests.model_tests.asking import request
from tests.model_tests.tiny_gguf import Shape

TEXT = "世界🎉 ok"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def says(folder: Path) -> Path:
    """A model that answers `TEXT` to everything."""
    return tiny_gguf.write(folder / "says.gguf", Shape(says=TEXT))


@pytest.fixture(scope="module")
def endless(folder: Path) -> Path:
    """A model that says `TEXT` again and again."""
    shape = Shape(says=TEXT, ends=False, context=32_768)
    return tiny_gguf.write(folder / "endless.gguf", shape)


@pytest.fixture(scope="module")
def random(folder: Path) -> Path:
    """A model that says nonsense."""
    return tiny_gguf.write(folder / "random.gguf")


@asynccontextmanager
async def started(path: Path, **settings: Any) -> AsyncIterator[LlamaCpp]:
    runner = LlamaCpp(LlamaSettings(model_path=path, **{"n_ctx": 1024, **settings}))
    try:
        await runner.start()
        yield runner
    finally:
        await runner.close()


async def answer(runner: LlamaCpp, *said: str, **more: Any) -> ModelReplied:
    outcome = await runner.run(request(*said, **more), lambda text: None)
    assert isinstance(outcome, ModelReplied), outcome
    return outcome


async def refusal(path: Path, **settings: Any) -> str:
    """The one line with which a runner refuses to start; no process may be left."""
    runner = LlamaCpp(LlamaSettings(model_path=path, **settings))
    with pytest.raises(Refused) as refused:
        await runner.start()
    assert runner.pid is None
    await runner.close()
    assert "\n" not in str(refused.value)
    return str(refused.value)


async def until_shown(runner: LlamaCpp, **more: Any) -> "asyncio.Task[Outcome]":
    """Begin an answer, and come back when something of it was shown."""
    shown = asyncio.Event()
    running = asyncio.create_task(runner.run(request("hi", **more), lambda text: shown.set()))
    await shown.wait()
    return running


# --- answers -------------------------------------------------------------------------------------


async def test_chinese_and_emoji_come_whole_and_each_frame_is_a_prefix(says: Path) -> None:
    frames: list[str] = []
    async with started(says) as runner:
        outcome = await runner.run(request("你好，请问报销流程？🎉"), frames.append)
    assert isinstance(outcome, ModelReplied)
    assert (outcome.text, outcome.cut) == (TEXT, False)
    assert frames == ["世", "世界", "世界🎉", "世界🎉 o", TEXT]


async def test_an_answer_says_what_made_it(says: Path) -> None:
    async with started(says) as runner:
        first = (await answer(runner, "hi")).made_by
    assert first is not None
    name, _, digest = first.weights.partition("#")
    assert (first.runner, name, len(digest), len(first.template)) == (
        "llama.cpp",
        "says.gguf",
        12,
        12,
    )
    assert first.sampler.startswith("temperature 200‰, top-p 900‰, seed ")
    assert first.tokens == len(TEXT.encode()) + 1  # its bytes, and the end
    assert first.request_digest == "digest"
    async with started(says, temperature_permille=0) as runner:
        second = (await answer(runner, "hi")).made_by
    assert second is not None
    assert second.sampler == "greedy, repeat penalty 1100‰"


async def test_a_request_repeats_its_answer_and_another_request_gets_another(random: Path) -> None:
    async with started(random, temperature_permille=1000, slots=1) as runner:
        first = await answer(runner, "hi", effect_id="one")
        again = await answer(runner, "hi", effect_id="one")
        other = await answer(runner, "hi", effect_id="two")
    assert first.text == again.text != other.text


@pytest.mark.parametrize("limits", [(5, 512), (512, 5)])
async def test_an_answer_ends_at_its_limit_and_is_marked_cut(
    endless: Path, limits: tuple[int, int]
) -> None:
    async with started(endless, max_tokens=limits[0]) as runner:
        outcome = await answer(runner, "hi", max_tokens=limits[1])
    assert outcome.cut
    assert outcome.made_by is not None
    assert outcome.made_by.tokens == 5


async def test_more_requests_than_slots_all_get_their_own_answer(says: Path) -> None:
    async with started(says, slots=3) as runner:
        asked = [answer(runner, f"question {n}" * (n + 1)) for n in range(20)]
        assert {outcome.text for outcome in await asyncio.gather(*asked)} == {TEXT}


async def test_a_transcript_longer_than_the_context_is_answered(says: Path) -> None:
    async with started(says, n_ctx=256) as runner:
        long = [f"{n}: 一段很长的对话，说了很多很多的话。" for n in range(41)]
        assert (await answer(runner, *long)).text == TEXT
        assert (await answer(runner, "长" * 5_000)).text == TEXT


async def test_a_system_prompt_longer_than_the_context_is_refused(says: Path) -> None:
    asked = request("hi")
    system = PromptLine(role="system", text="S" * 5_000)
    asked = msgspec.structs.replace(asked, lines=(system, *asked.lines[1:]))
    async with started(says, n_ctx=256) as runner:
        outcome = await runner.run(asked, lambda text: None)
        assert isinstance(outcome, ModelFailed)
        assert outcome.reason == "refused"
        assert "context of 256 tokens" in outcome.detail
        assert (await answer(runner, "hi")).text == TEXT


async def test_text_that_is_no_unicode_is_refused_and_the_next_is_answered(says: Path) -> None:
    async with started(says) as runner:
        outcome = await runner.run(request("half a pair \ud83d"), lambda text: None)
        assert isinstance(outcome, ModelFailed)
        assert outcome.reason == "refused"
        assert (await answer(runner, "hi")).text == TEXT


async def test_a_folder_named_models_where_somebody_stands_is_not_ours(
    says: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    async with started(says) as runner:
        assert (await answer(runner, "hi")).text == TEXT


async def test_the_default_model_speaks_english(folder: Path) -> None:
    path = fetch_default(folder, lambda line: None)
    async with started(path, temperature_permille=0, slots=2) as runner:
        outcome = await answer(runner, "What is the capital of France?", max_tokens=20)
        assert "Paris" in outcome.text
        then = await answer(runner, "What is the capital of France?", outcome.text, "Thanks!")
        assert then.text


# --- the end of requests and of processes --------------------------------------------------------


async def test_a_cancelled_request_leaves_the_runner_ready(endless: Path) -> None:
    async with started(endless, slots=1, n_ctx=32_768, max_tokens=32_000) as runner:
        for _ in range(3):
            running = await until_shown(runner, max_tokens=32_000)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        assert (await answer(runner, "hi", max_tokens=3)).cut


async def test_a_request_that_cannot_be_shown_fails_alone(says: Path) -> None:
    def nobody_looks(text: str) -> None:
        raise RuntimeError("nobody looks")

    async with started(says) as runner:
        before = runner.pid
        other = asyncio.create_task(answer(runner, "hi"))
        with pytest.raises(RuntimeError, match="nobody looks"):
            await runner.run(request("hi"), nobody_looks)
        assert (await other).text == TEXT
        assert runner.pid == before


async def test_a_killed_child_ends_its_requests_and_the_next_one_starts_another(
    endless: Path,
) -> None:
    async with started(endless, n_ctx=32_768, max_tokens=32_000) as runner:
        before = runner.pid
        assert before is not None
        running = [await until_shown(runner, max_tokens=32_000) for _ in range(2)]
        os.kill(before, signal.SIGKILL)
        for outcome in await asyncio.gather(*running):
            assert isinstance(outcome, ModelFailed)
            assert outcome.reason == "died"
            assert "SIGKILL" in outcome.detail
        assert runner.pid is None
        assert (await answer(runner, "hi", max_tokens=3)).text
        assert runner.pid != before


async def test_a_child_that_hangs_is_a_timeout_and_is_replaced(says: Path) -> None:
    async with started(says, timeout_s=2) as runner:
        before = runner.pid
        assert before is not None
        os.kill(before, signal.SIGSTOP)
        outcome = await runner.run(request("hi"), lambda text: None)
        assert isinstance(outcome, ModelFailed)
        assert outcome.reason == "timeout"
        assert runner.pid is None
        assert (await answer(runner, "hi")).text == TEXT


async def test_an_answer_that_takes_too_long_is_dropped_and_the_child_stays(endless: Path) -> None:
    async with started(endless, n_ctx=32_768, max_tokens=32_000, timeout_s=1) as runner:
        before = runner.pid
        outcome = await runner.run(request("hi", max_tokens=32_000), lambda text: None)
        assert isinstance(outcome, ModelFailed)
        assert outcome.reason == "timeout"
        assert runner.pid == before
        assert (await answer(runner, "hi", max_tokens=3)).cut


async def test_a_closed_runner_answers_nothing_and_leaves_no_process(endless: Path) -> None:
    async with started(endless, n_ctx=32_768, max_tokens=32_000) as runner:
        pid = runner.pid
        assert pid is not None
        running = await until_shown(runner, max_tokens=32_000)
    outcome = await running
    assert isinstance(outcome, ModelFailed)
    assert outcome.reason == "died"
    late = await runner.run(request("hi"), lambda text: None)
    assert isinstance(late, ModelFailed)
    assert late.reason == "unavailable"
    assert not Path(f"/proc/{pid}").exists()


PARENT = """
import asyncio, os, signal, sys
from pathlib import Path
from models.llama_cpp import LlamaCpp, LlamaSettings

async def main():
    runner = LlamaCpp(LlamaSettings(model_path=Path(sys.argv[1]), n_ctx=256))
    await runner.start()
    print(runner.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_the_child_dies_with_its_parent(says: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", PARENT, str(says)],
        cwd=root,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    child = Path(f"/proc/{int(done.stdout)}/stat")
    for _ in range(200):
        if not child.exists() or ") Z " in child.read_text():
            return
        time.sleep(0.05)
    pytest.fail("the child lives on")


# --- files that cannot work ----------------------------------------------------------------------


def altered(says: Path, tmp_path: Path, *, old: bytes, new: bytes) -> Path:
    """A copy of a model with some bytes replaced by as many others."""
    content = says.read_bytes()
    assert old in content
    assert len(old) == len(new)
    copy = tmp_path / "altered.gguf"
    copy.write_bytes(content.replace(old, new))
    return copy


async def test_a_file_that_is_missing_cut_short_or_junk_is_refused_before_loading(
    says: Path, tmp_path: Path
) -> None:
    assert "is not there" in await refusal(tmp_path / "none.gguf")
    short = tmp_path / "short.gguf"
    short.write_bytes(says.read_bytes()[:-1000])
    assert "is cut short" in await refusal(short)
    short.write_bytes(os.urandom(10_000))
    assert "is no GGUF file" in await refusal(short)


async def test_a_model_bigger_than_the_memory_is_refused_before_loading(tmp_path: Path) -> None:
    path = tmp_path / "huge.gguf"
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(2048)
    shape = (1 << 20, 1 << 20)
    writer.add_tensor_info("token_embd.weight", shape, np.dtype(np.float32), 4 << 40)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    os.truncate(path, (4 << 40) + (1 << 20))  # a sparse file: nothing of it is on the disk
    text = await refusal(path)
    assert "needs about 4,19" in text
    assert "Take a smaller or more quantised model" in text


async def test_a_context_bigger_than_the_memory_is_refused_before_loading(tmp_path: Path) -> None:
    shape = Shape(context=1 << 30, layers=64, kv_heads=4)
    path = tiny_gguf.write(tmp_path / "long.gguf", shape)
    text = await refusal(path, n_ctx=1 << 20, slots=64)
    assert "64 slots of 1048576 tokens 1,048,576 MiB" in text


async def test_an_architecture_that_llama_cpp_does_not_know_is_refused(
    says: Path, tmp_path: Path
) -> None:
    text = await refusal(altered(says, tmp_path, old=b"llama", new=b"lllma"))
    assert "cannot be used: llama.cpp cannot load it" in text
    assert "unknown model architecture: 'lllma'" in text


async def test_a_file_that_makes_llama_cpp_end_its_process_is_refused(
    says: Path, tmp_path: Path
) -> None:
    layers = b"llama.block_count" + struct.pack("<I", 4)  # and its type, before the number
    none = altered(
        says, tmp_path, old=layers + struct.pack("<I", 2), new=layers + struct.pack("<I", 0)
    )
    text = await refusal(none)
    assert "ends the process that loads it: it was ended by SIGABRT. llama-model.cpp:" in text
    assert "GGML_ASSERT" in text


async def test_a_template_that_is_broken_is_refused_at_start(tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "broken.gguf", Shape(chat_template="{% for %}"))
    assert "its chat template is not valid" in await refusal(path)


async def test_weights_that_are_no_numbers_are_refused_at_start(says: Path, tmp_path: Path) -> None:
    content = bytearray(says.read_bytes())
    content[-40_000:] = np.full(10_000, np.nan, np.float32).tobytes()
    (tmp_path / "nan.gguf").write_bytes(content)
    assert "its weights are damaged" in await refusal(tmp_path / "nan.gguf")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"n_ctx": 10}, "n_ctx is 10; 256 to"),
        ({"slots": 0}, "slots is 0; 1 to 64"),
        ({"slots": 65}, "slots is 65"),
        ({"n_threads": 0}, "n_threads is 0"),
        ({"top_p_permille": 0}, "top_p_permille is 0"),
        ({"max_tokens": 0}, "max_tokens is 0"),
    ],
)
async def test_settings_that_make_no_sense_are_refused(
    says: Path, wrong: dict[str, int], said: str
) -> None:
    assert said in await refusal(says, **wrong)
