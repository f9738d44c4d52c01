"""A model that fails is told in the process's log: once for each kind, without what was said."""

import asyncio
import logging
from pathlib import Path

import pytest

from engine.effects import ModelRequest, PromptLine
from engine.events import ModelFailed, ModelReplied
from models.scripted import Rule, ScriptedModel
from streams.embedded import told_model
from streams.embedded.told_model import ToldModel
from tests.host_tests.engines import eventually
from tests.host_tests.processes import Run, environment

GONE = "http://127.0.0.1:9/v1 cannot be reached"
RULES = [
    Rule(pattern="gone", failure="unavailable", detail=GONE),
    Rule(pattern="key", failure="refused", detail="http://127.0.0.1:9/v1 answered 401"),
    Rule(pattern="wait", latency_ms=None),
]
TOLD_GONE = f"the model failed, unavailable: {GONE}"
TOLD_KEY = "the model failed, refused: http://127.0.0.1:9/v1 answered 401"


def asks(text: str, *, expires_ms: int = 0) -> ModelRequest:
    return ModelRequest(
        effect_id="s/1",
        session_id="s",
        reply_id="r",
        lines=(PromptLine(role="user", text=text),),
        max_tokens=8,
        stream=True,
        expires_ms=expires_ms,
    )


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


async def test_a_failure_is_told_when_it_changes_and_not_for_each_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = ToldModel(ScriptedModel(RULES))
    for text in ("gone one", "gone two", "key", "key again", "gone three"):
        assert isinstance(await model.run(asks(text), lambda shown: None), ModelFailed)
    assert told(caplog) == [TOLD_GONE, TOLD_KEY, TOLD_GONE]


async def test_a_failure_that_is_rubbish_is_told_on_one_line_that_can_be_printed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rubbish = Rule(pattern="junk", failure="died", detail="\ud800\x1b[2J\n" + "x" * 9_000)
    await ToldModel(ScriptedModel([rubbish])).run(asks("junk"), lambda shown: None)
    (line,) = told(caplog)
    assert line.isprintable()
    assert line.startswith("the model failed, died: ��[2J�xxx")
    assert len(line) < 600


async def test_a_failure_that_lasts_is_told_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ToldModel(ScriptedModel(RULES))
    await model.run(asks("gone"), lambda shown: None)
    monkeypatch.setattr(told_model, "AGAIN_AFTER_S", 0.0)
    await model.run(asks("gone"), lambda shown: None)
    assert told(caplog) == [TOLD_GONE] * 2


async def test_an_answer_passes_and_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    outcome = await ToldModel(ScriptedModel()).run(asks("hello"), lambda shown: None)
    assert isinstance(outcome, ModelReplied)
    assert told(caplog) == []


@pytest.mark.parametrize(
    ("expires_ms", "expected"),
    [(1, ["the model failed, deadline: it gave no answer in time"]), (0, [])],
)
async def test_of_what_was_cancelled_only_what_came_too_late_is_a_failure(
    expires_ms: int, expected: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    model = ToldModel(ScriptedModel(RULES))
    task = asyncio.create_task(model.run(asks("wait", expires_ms=expires_ms), lambda shown: None))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told(caplog) == expected


async def test_a_model_server_that_is_not_there_is_told_at_the_start_and_refuses_nothing(
    tmp_path: Path,
) -> None:
    server = {"KIND": "openai", "MODEL": "m", "BASE_URL": "http://127.0.0.1:9/v1"}
    env = environment(tmp_path, **{f"AI_ASSISTANT_MODEL__{k}": v for k, v in server.items()})
    with Run(env).listening() as run:
        await eventually(lambda: "see ai-assistant doctor" in run.said)
        (line,) = [one for one in run.said.splitlines() if "see ai-assistant doctor" in one]
        assert "the model: http://127.0.0.1:9/v1/models does not answer (ConnectError);" in line
        assert run.stop() == 0
