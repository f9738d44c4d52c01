"""docs/webchat.md: its calls and its clients, run against an engine; its tables, against the wire.

The engine answers with what was said: the scripted model.
"""

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

from adapters.channels import webchat, webchat_http, webchat_wire
from adapters.channels.webchat_wire import ErrorCode, FromClient, FromServer, LineFrame
from engine.limits import MESSAGE_TEXT_BYTES_MAX, QUOTED_TEXT_BYTES_MAX
from streams.topics import BY_NAME, T
from tests.doc_tests import pages
from tests.doc_tests.engines import ENDED_WITHIN_S, Engine

PAGE = "docs/webchat.md"
ADDRESS = "http://127.0.0.1:8080"
DAY_MS = 24 * 3_600_000


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One engine for all calls."""
    running = Engine(tmp_path_factory.mktemp("home"))
    yield running
    assert running.stop() == 0


def snippets(kind: str) -> list[str]:
    """The page's snippets of this kind."""
    return [snippet.text for snippet in pages.snippets(PAGE) if snippet.kind == kind]


def shape(value: Any) -> Any:
    """What may be compared of an answer: its keys, and values that no clock or key made."""
    if isinstance(value, list):
        return [shape(one) for one in value]
    if isinstance(value, dict):
        made = {"at_ms"} if value.get("author") == "user" else {"at_ms", "id"}
        return {name: name in made or shape(one) for name, one in value.items()}
    return value


def curl(line: str, folder: Path) -> Any:
    """What a call of the page answers."""
    done = subprocess.run(
        ["bash", "-c", line.replace("curl", "curl --silent --noproxy '*'", 1)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=ENDED_WITHIN_S,
        check=True,
    )
    return json.loads(done.stdout)


def test_the_calls_answer_what_the_page_shows(engine: Engine, tmp_path: Path) -> None:
    assert shutil.which("curl"), "install curl: the page's calls are made with it"
    (calls,) = snippets("sh")
    person, message, lines = calls.replace(ADDRESS, engine.url).splitlines()
    first, second, third, _ = map(json.loads, snippets("json"))
    assert curl(person, tmp_path) == first
    assert curl(message, tmp_path) == second
    assert curl(message, tmp_path) == second  # the same id again: one message
    for _ in range(100):
        found = curl(lines, tmp_path)
        if len(found["lines"]) >= 2:
            break
    assert shape(found) == shape(third)


def test_an_error_has_the_form_that_the_page_shows() -> None:
    shown = snippets("json")[-1]
    error = json.loads(shown, object_hook=lambda fields: fields)
    assert error.keys() == {"type", *webchat_wire.ErrorFrame.__struct_fields__}
    assert error["code"] in get_args(ErrorCode)


def test_the_clients_get_their_answers_though_the_first_gateway_is_dead(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
    over_http, over_the_socket = snippets("python")
    names: dict[str, Any] = {}
    both = over_http.replace(f'"{ADDRESS}"', f'"{nobody}", "{engine.url}"')
    exec(compile(both, PAGE, "exec"), names)
    assert capsys.readouterr().out == "What is the capital of France?\n"
    exec(compile(over_the_socket, PAGE, "exec"), names)
    *streamed, answer = capsys.readouterr().out.splitlines()
    assert answer == "wait 400 ms"
    assert set(streamed) == {"…", "… …"}
    said = [(line["n"], line["author"], line["text"]) for line in names["lines"](after=0)]
    asked = ("What is the capital of France?", "wait 400 ms")
    assert said == [
        (2 * turn + number, author, text)
        for turn, text in enumerate(asked)
        for number, author in ((1, "user"), (2, "bot"))
    ]
    names["http"].close()


def test_the_cookie_is_what_the_page_says(engine: Engine) -> None:
    with httpx.Client(base_url=engine.url) as http:
        assert "Max-Age=34560000" in http.post("/api/person").headers["set-cookie"]
        assert http.post("/api/person").json() == {"new": False}
    assert 34_560_000 == 400 * 86_400
    assert httpx.get(f"{engine.url}/").cookies["person"]
    assert httpx.get(f"{engine.url}/api/conversations/conversation-1/lines").status_code == 401


def rows() -> dict[str, str]:
    """The rows of the page's tables by their first cell's first word of code."""
    return dict(re.findall(r"^\| `(\w+)`(.*)$", pages.text_of(PAGE), re.M))


def test_every_frame_and_each_of_its_fields_is_in_the_tables() -> None:
    kinds = [*FromClient.__subclasses__(), *FromServer.__subclasses__()]
    table, missing = rows(), []
    for kind in kinds:
        tag = str(kind.__struct_config__.tag)
        # A line has a table of its own; what all frames have is in the ones of frames.
        text = pages.text_of(PAGE) if kind is LineFrame else table.get(tag, "")
        missing += [f"{tag}.{f}" for f in kind.__struct_fields__ if f"`{f}`" not in text]
        missing += [] if tag in table else [tag]
    assert missing == []


def test_every_error_is_in_its_table_with_its_status() -> None:
    row = {name: row for name, row in rows().items() if name in get_args(ErrorCode)}
    assert row.keys() | {"too_many_conversations"} == set(get_args(ErrorCode))
    statuses = {code: f"| {status} |" for code, status in webchat_http._STATUS.items()}
    statuses["bad_frame"] = "| 400 |"
    assert {code for code, status in statuses.items() if status not in row[code]} == set()


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("`text` may have {} KiB", MESSAGE_TEXT_BYTES_MAX / 1024),
        ("(what the message refers to) {} KiB", QUOTED_TEXT_BYTES_MAX / 1024),
        ("a remark of at most {} KiB", webchat_wire.VERDICT_TEXT_BYTES_MAX / 1024),
        ("at most {} conversations a socket", webchat_wire.CONVERSATIONS_MAX),
        ("{} frames in a row", webchat_wire.RUBBISH_MAX),
        ("here or of this person ({})", webchat.SOCKETS_OF_A_PERSON_MAX),
        ("at most {} lines", webchat_http.PAGE_LINES),
        ("| {} | no cookie of ours", webchat.NO_PERSON),
        ("| {} | too many sockets", webchat.BUSY),
        ("| {} | the gateway stops", webchat.RESTART),
        ("lines are kept for {} days", int(BY_NAME[T.OUTBOX].config["retention.ms"]) / DAY_MS),
    ],
)
def test_a_number_of_the_page_is_the_codes(words: str, number: float) -> None:
    assert words.format(f"{number:g}") in pages.text_of(PAGE)
