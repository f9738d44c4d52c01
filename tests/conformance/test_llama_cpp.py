"""The llama.cpp runner passes the suites of its port, with real GGUF files that tests write."""

from pathlib import Path

import pytest

from engine.ports import ModelRunner
from models.llama_cpp import LlamaCpp, LlamaSettings
from testkit.conformance import FailingModelSuite, HopelessModelSuite, ModelRunnerSuite
from tests.model_tests import tiny_gguf
from tests.model_tests.tiny_gguf import Shape


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models: one that answers, one that goes on for ever, and one that says nothing."""
    folder = tmp_path_factory.mktemp("models")
    tiny_gguf.write(folder / "says.gguf", Shape(says="世界🎉 ok"))
    tiny_gguf.write(folder / "endless.gguf", Shape(says="世界🎉 ok", ends=False, context=32_768))
    (folder / "junk.gguf").write_bytes(b"GGUF, but nothing of it is true")
    return folder


class TestLlamaCpp(ModelRunnerSuite):
    @pytest.fixture
    def runner(self, folder: Path) -> ModelRunner:
        return LlamaCpp(LlamaSettings(model_path=folder / "says.gguf", n_ctx=1024))

    @pytest.fixture
    def endless(self, folder: Path) -> ModelRunner:
        path = folder / "endless.gguf"
        settings = LlamaSettings(model_path=path, n_ctx=32_768, max_tokens=32_000, slots=2)
        return LlamaCpp(settings)


class TestFailing(FailingModelSuite):
    @pytest.fixture
    def failing(self, folder: Path) -> ModelRunner:
        path = folder / "endless.gguf"
        return LlamaCpp(LlamaSettings(model_path=path, n_ctx=1024, timeout_s=0.01))


class TestHopeless(HopelessModelSuite):
    @pytest.fixture(params=["junk.gguf", "none.gguf"])
    def hopeless(self, folder: Path, request: pytest.FixtureRequest) -> ModelRunner:
        return LlamaCpp(LlamaSettings(model_path=folder / request.param))
