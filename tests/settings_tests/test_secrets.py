"""Secrets come from where they are kept, and are shown nowhere."""

import copy
import json
import logging
import pickle
import stat
from pathlib import Path

import msgspec
import pytest

from engine.errors import Refused
from streams.settings import Secret, load, operator_token, rows, skill_tables

HUSH = "hush-0123456789"


def loaded(token: str, directory: Path, **env: str) -> Secret:
    (directory / "assistant.toml").write_text(f"[operators]\ntoken = {json.dumps(token)}")
    found = load(directory, {"HOME": "/h", **env}).operators.token
    assert found is not None
    return found


def test_a_secret_comes_from_the_file_the_environment_or_another_file(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text(HUSH + "\n")
    assert loaded(HUSH, tmp_path).reveal() == HUSH
    assert loaded("${TOKEN}", tmp_path, TOKEN=HUSH).reveal() == HUSH
    assert loaded(f"file:{kept}", tmp_path).reveal() == HUSH
    assert loaded("file:kept", tmp_path).reveal() == HUSH


@pytest.mark.parametrize("text", ["${NO_SUCH}", "file:/no/such", "a${B}c", "file:empty"])
def test_a_secret_that_cannot_be_had_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(Refused, match=r"operators\.token"):
        loaded(text, tmp_path)


def test_a_secret_shows_itself_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = loaded(HUSH, tmp_path)
    settings = load(tmp_path, {"HOME": "/h"})
    logging.getLogger("test").warning("settings %s %r", settings, secret)
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r:>40}", repr(settings), caplog.text]
    shown.append(str([(row.key, row.value, row.origin) for row in rows(settings)]))
    assert [text for text in shown if "hush" in text] == []


def test_a_secret_is_neither_pickled_copied_to_json_nor_deep_copied() -> None:
    for leak in (pickle.dumps, msgspec.json.encode, json.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(Secret(HUSH))


def test_an_offered_secret_is_compared_whole() -> None:
    assert Secret(HUSH).matches(HUSH)
    assert not Secret(HUSH).matches(HUSH[:-1])
    assert not Secret(HUSH).matches("\ud800")


@pytest.mark.parametrize(
    ("value", "placeholder"),
    [
        ("YOUR_APP_KEY", True),
        ("your-app-secret", True),
        ("<token>", True),
        ("changeme", True),
        ("xxxx", True),
        ("", True),
        ("dingoa1b2c3", False),
        ("yourself-9", False),
    ],
)
def test_a_placeholder_is_recognised(value: str, placeholder: bool) -> None:
    assert Secret(value).is_placeholder is placeholder


def test_a_skills_own_secrets_are_masked_too(tmp_path: Path) -> None:
    (tmp_path / "assistant.toml").write_text(
        f"[skills.settings.weather]\napi_key = '{HUSH}'\ncity = 'Berlin'"
    )
    shown = {row.key: row.value for row in rows(load(tmp_path, {"HOME": "/h"}))}
    assert shown["skills.settings.weather.city"] == "Berlin"
    assert HUSH not in str(shown)


def test_a_local_operators_token_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    settings = load(tmp_path, {"HOME": "/h"}, data_dir=tmp_path / "data")
    first, second = operator_token(settings), operator_token(settings)
    assert first == second
    assert len(first.reveal()) >= 32
    file = tmp_path / "data" / "operator.token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [p.name for p in file.parent.iterdir()] == ["operator.token"]


def test_the_set_operators_token_wins_over_the_local_one(tmp_path: Path) -> None:
    loaded(HUSH, tmp_path)
    settings = load(tmp_path, {"HOME": "/h"}, data_dir=tmp_path / "data")
    assert operator_token(settings).reveal() == HUSH
    assert not (tmp_path / "data").exists()


def test_a_skills_own_secrets_are_looked_up_only_when_its_context_is_made(tmp_path: Path) -> None:
    (tmp_path / "assistant.toml").write_text(
        "[skills.settings.weather]\nauth = '${WEATHER}'\nunits = 'metric'\nhours = 3"
    )
    settings = load(tmp_path, {"HOME": "/h"})
    assert "${WEATHER}" in str(rows(settings))
    assert skill_tables(settings, {"WEATHER": HUSH}) == {
        "weather": {"auth": HUSH, "units": "metric", "hours": 3}
    }
    with pytest.raises(Refused, match=r"skills\.settings\.weather\.auth: .* WEATHER is not set"):
        skill_tables(settings, {})
