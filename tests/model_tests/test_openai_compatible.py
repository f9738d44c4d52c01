"""The runner for OpenAI-compatible servers, against a real server that misbehaves on purpose."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from engine.errors import Refused
from engine.events import ModelFailed, ModelReplied
from engine.limits import REPLY_TEXT_BYTES_MAX
from models.openai_compatible import OpenAICompatible, OpenAISettings, tls_context
from tests.model_tests.asking import SYSTEM, request
from tests.model_tests.openai_server import (
    Answer,
    Server,
    event,
    says,
    serving,
    status,
    stream,
    then_hangs,
    then_resets,
)

KEY = "sk-very-secret"


@asynccontextmanager
async def against(
    *answers: Answer, **settings: Any
) -> AsyncIterator[tuple[OpenAICompatible, Server]]:
    """A started runner and the server it talks to."""
    async with serving(*answers) as server:
        given = {"base_url": server.url, "model": "m", "pause_s": 0.01, "api_key": KEY}
        runner = OpenAICompatible(OpenAISettings(**{**given, **settings}))
        await runner.start()
        try:
            yield runner, server
        finally:
            await runner.close()


async def failure(*answers: Answer, **settings: Any) -> ModelFailed:
    """How a request of `secret words` fails against this server."""
    async with against(*answers, **settings) as (runner, _):
        outcome = await runner.run(request("secret words"), lambda text: None)
    assert isinstance(outcome, ModelFailed)
    assert KEY not in repr(outcome)
    assert "secret words" not in repr(outcome)
    return outcome


async def test_an_answer_streams_and_each_frame_is_a_prefix_of_it() -> None:
    frames: list[str] = []
    async with against(says("你好", ", ", "world 🎉")) as (runner, server):
        outcome = await runner.run(request("hi"), frames.append)
    assert isinstance(outcome, ModelReplied)
    assert outcome.text == "你好, world 🎉"
    assert not outcome.cut
    assert frames == ["你好", "你好, ", "你好, world 🎉"]
    assert server.asked[0].body["messages"] == [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": "hi"},
    ]
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert server.asked[0].headers["content-type"] == "application/json"  # some read nothing else


async def test_an_answer_says_what_made_it() -> None:
    usage = b'data: {"choices":[],"usage":{"completion_tokens":7}}\n\n'
    async with against(stream(event("a", "stop"), usage), temperature_permille=300) as (runner, _):
        outcome = await runner.run(request("hi"), lambda text: None)
    assert isinstance(outcome, ModelReplied)
    made_by = outcome.made_by
    assert made_by is not None
    assert (made_by.runner, made_by.weights, made_by.attempt) == ("openai", "m", 1)
    assert (made_by.sampler, made_by.tokens) == ("temperature 300‰", 7)
    assert made_by.request_digest == "digest"


async def test_characters_and_events_that_are_cut_anywhere_arrive_whole() -> None:
    whole = event("世界🎉") + event("!", "stop") + b"data: [DONE]\r\n\r\n"
    one_by_one = [whole[at : at + 1] for at in range(len(whole))]
    async with against(stream(*one_by_one)) as (runner, _):
        outcome = await runner.run(request("hi"), lambda text: None)
    assert isinstance(outcome, ModelReplied)
    assert outcome.text == "世界🎉!"


async def test_comments_and_unknown_fields_of_a_stream_are_passed_over() -> None:
    odd = b': keep-alive\n\nevent: x\nid: 4\ndata:{"choices":[{"delta":{"role":"assistant"}}]}\n\n'
    async with against(stream(odd, event("ok", "stop"))) as (runner, _):
        outcome = await runner.run(request("hi"), lambda text: None)
    assert isinstance(outcome, ModelReplied)
    assert outcome.text == "ok"


async def test_an_answer_that_reached_its_length_is_marked_cut() -> None:
    async with against(stream(event("a", "length"))) as (runner, _):
        outcome = await runner.run(request("hi"), lambda text: None)
    assert isinstance(outcome, ModelReplied)
    assert outcome.cut


async def test_an_answer_longer_than_any_reply_is_ended_by_us() -> None:
    piece = "x" * 4096
    endless = then_hangs(*[event(piece)] * (REPLY_TEXT_BYTES_MAX // 4096 + 1))
    async with against(endless) as (runner, server):
        outcome = await runner.run(request("hi"), lambda text: None)
        await server.asked[0].left.wait()
    assert isinstance(outcome, ModelReplied)
    assert outcome.cut


async def test_a_server_that_does_not_stream_is_understood_too() -> None:
    choice = {"message": {"content": "whole"}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice]}).encode()
    async with against(status(200, body)) as (runner, _):
        outcome = await runner.run(request("hi"), lambda text: None)
    assert isinstance(outcome, ModelReplied)
    assert outcome.text == "whole"


async def test_a_busy_server_is_asked_again() -> None:
    async with against(status(429), status(503), says("ok")) as (runner, server):
        outcome = await runner.run(request("hi"), lambda text: None)
    assert isinstance(outcome, ModelReplied)
    assert outcome.made_by is not None
    assert outcome.made_by.attempt == 3
    assert len(server.asked) == 3


async def test_the_pause_that_a_server_asks_for_is_kept() -> None:
    async with against(status(429, Retry_After="1"), says("ok"), timeout_s=0.5) as (runner, server):
        outcome = await runner.run(request("hi"), lambda text: None)
    assert isinstance(outcome, ModelFailed)
    assert outcome.reason == "timeout"
    assert len(server.asked) == 1


async def test_a_server_that_asks_for_an_hour_is_given_up_at_once() -> None:
    late = status(503, Retry_After="Fri, 31 Dec 2100 23:59:59 GMT")
    async with against(late) as (runner, server):
        outcome = await runner.run(request("hi"), lambda text: None)
    assert isinstance(outcome, ModelFailed)
    assert outcome.reason == "unavailable"
    assert len(server.asked) == 1


async def test_a_server_that_stays_busy_is_unavailable_after_all_tries() -> None:
    async with against(status(500), tries=2) as (runner, server):
        outcome = await runner.run(request("hi"), lambda text: None)
    assert isinstance(outcome, ModelFailed)
    assert outcome.reason == "unavailable"
    assert "answered 500" in outcome.detail
    assert len(server.asked) == 2


async def test_a_server_that_is_not_there_is_unavailable_and_named() -> None:
    async with serving(says("ok")) as gone:
        url = gone.url
    outcome = await failure(says("ok"), base_url=url, tries=2)
    assert outcome.reason == "unavailable"
    assert url in outcome.detail
    assert outcome.made_by is not None
    assert outcome.made_by.attempt == 2


async def test_nothing_is_tried_again_once_something_was_shown() -> None:
    frames: list[str] = []
    async with against(then_resets(event("half")), says("ok")) as (runner, server):
        outcome = await runner.run(request("hi"), frames.append)
    assert isinstance(outcome, ModelFailed)
    assert outcome.reason == "error"
    assert "broke off in the middle" in outcome.detail
    assert frames == ["half"]
    assert len(server.asked) == 1


async def test_a_connection_that_ends_without_an_answer_is_unavailable() -> None:
    outcome = await failure(stream(head=b""))
    assert outcome.reason == "unavailable"
    assert "before its answer" in outcome.detail


async def test_an_answer_without_its_end_is_an_error() -> None:
    assert "in the middle" in (await failure(stream(event("half")))).detail


async def test_an_answer_without_text_is_empty() -> None:
    assert (await failure(says())).reason == "empty"


@pytest.mark.parametrize(
    "junk",
    [
        b"data: {oops\n\n",
        b"data: [1, 2]\n\n",
        b'data: {"choices": 5}\n\n',
        b'data: {"choices":[{"delta":{"content":"\xff\xfe secret words"}}]}\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
        b"data: " + b"x" * (2 << 20),
        b"<html>secret words</html>",
        b"",
    ],
)
async def test_rubbish_is_an_error_that_quotes_nothing(junk: bytes) -> None:
    assert (await failure(stream(junk))).reason == "error"


async def test_an_error_inside_the_stream_ends_it() -> None:
    body = b'data: {"error":{"message":"secret words","code":"overloaded"}}\n\n'
    outcome = await failure(stream(event("half"), body))
    assert outcome.reason == "error"
    assert "overloaded" in outcome.detail


@pytest.mark.parametrize(
    ("code", "body", "said"),
    [
        (401, b'{"error":{"message":"sk-very-secret","code":"invalid_api_key"}}', "(invalid_api"),
        (403, b"not json", "the key is missing or has no right"),
        (404, b"{}", "there is no model m"),
        (400, b'{"error":{"message":"secret words","type":"invalid_request_error"}}', "refuses"),
        (400, b'{"error":{"code":"a text with spaces is not a code"}}', "400: the server refuses"),
    ],
)
async def test_a_refusal_is_not_repeated(code: int, body: bytes, said: str) -> None:
    outcome = await failure(status(code, body))
    assert outcome.reason == "refused"
    assert said in outcome.detail


async def test_a_redirect_is_not_followed() -> None:
    assert (await failure(status(302, Location="http://127.0.0.1:1/"))).reason == "error"


async def test_a_server_that_wants_the_newer_field_for_the_limit_gets_it() -> None:
    wish = b'{"error":{"message":"Use \'max_completion_tokens\' instead.","code":"unsupported"}}'
    async with against(status(400, wish), says("ok")) as (runner, server):
        outcome = await runner.run(request("hi", max_tokens=9), lambda text: None)
    assert isinstance(outcome, ModelReplied)
    assert server.asked[0].body["max_tokens"] == 9
    assert server.asked[1].body["max_completion_tokens"] == 9
    assert "max_tokens" not in server.asked[1].body


async def test_a_silent_server_is_a_timeout() -> None:
    outcome = await failure(then_hangs(event("half")), read_timeout_s=0.2)
    assert outcome.reason == "timeout"
    assert "silent for 0.2 s" in outcome.detail


async def test_a_server_that_trickles_for_ever_is_a_timeout() -> None:
    trickle = stream(*[event("x")] * 10_000)
    outcome = await failure(trickle, timeout_s=0.3)
    assert outcome.reason == "timeout"
    assert "within 0.3 s" in outcome.detail


async def test_cancelling_closes_the_connection() -> None:
    shown = asyncio.Event()
    async with against(then_hangs(event("half"))) as (runner, server):
        running = asyncio.ensure_future(runner.run(request("hi"), lambda text: shown.set()))
        await shown.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await asyncio.wait_for(server.asked[0].left.wait(), 5)


async def test_more_requests_than_connections_are_all_answered() -> None:
    async with against(says("ok")) as (runner, server):
        asked = [runner.run(request(str(n)), lambda text: None) for n in range(50)]
        outcomes = await asyncio.gather(*asked)
    assert all(isinstance(outcome, ModelReplied) for outcome in outcomes)
    assert len(server.asked) == 50


async def test_text_that_is_no_unicode_is_refused_and_not_sent() -> None:
    async with against(says("ok")) as (runner, server):
        outcome = await runner.run(request("half a pair \ud83d"), lambda text: None)
    assert isinstance(outcome, ModelFailed)
    assert outcome.reason == "refused"
    assert not server.asked


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "ftp://host/v1"},
        {"base_url": "127.0.0.1:11434/v1"},
        {"base_url": "http://"},
        {"base_url": "http://user:password@host/v1"},
        {"base_url": "http://host:99999999/v1"},
        {"api_key": "two words"},
        {"api_key": "line\nend"},
        {"api_key": "钥匙"},
    ],
)
async def test_settings_that_can_never_work_are_refused_at_start(wrong: dict[str, str]) -> None:
    given: dict[str, Any] = {"base_url": "http://127.0.0.1/v1", "model": "m", **wrong}
    runner = OpenAICompatible(OpenAISettings(**given))
    with pytest.raises(Refused) as refusal:
        await runner.start()
    assert "password" not in str(refusal.value)
    assert "two words" not in str(refusal.value)


def test_the_key_does_not_show_in_the_settings() -> None:
    assert KEY not in repr(OpenAISettings(base_url="http://x/v1", model="m", api_key=KEY))


def test_nothing_older_than_tls_1_2_is_spoken() -> None:
    context = tls_context()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
