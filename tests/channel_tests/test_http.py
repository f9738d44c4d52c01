"""The HTTP app: twins of the chat's protocol, probes, and what stands in front of all of it."""

from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client import CollectorRegistry

from adapters.channels.webchat import WebChat
from console.http.app import Parts, make_app
from console.http.guard import BODY_BYTES_MAX, GUESSES_MAX
from tests.channel_tests.memory_host import KEY, TOKEN, MemoryHost, Server

MESSAGES = "/api/conversations/conversation-1/messages"
LINES = "/api/conversations/conversation-1/lines"
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
async def http(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A client on this machine, with a person's cookie."""
    async with httpx.AsyncClient(base_url=server.url) as client:
        await client.post("/api/person")
        yield client


async def remote(host: MemoryHost, token: str = TOKEN) -> httpx.AsyncClient:
    """The app as somebody beyond this machine reaches it."""
    chat = WebChat("web", KEY)
    await chat.start(host)
    app = make_app(Parts(host=host, chat=chat, token=token, registry=CollectorRegistry()))
    transport = httpx.ASGITransport(app, client=("203.0.113.7", 4711), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://chat.example")


async def handed_over(http: httpx.AsyncClient) -> str:
    await http.post(MESSAGES, json={"id": "message-1", "text": "human"})
    answer = await http.get("/api/operator/sessions", headers=BEARER)
    session: str = answer.json()["sessions"][0]["session_id"]
    return session


# ---- the chat's twins --------------------------------------------------------------------------


async def test_a_message_over_http_is_taken_once_and_its_lines_are_read(
    http: httpx.AsyncClient, host: MemoryHost
) -> None:
    for _ in range(2):
        answer = await http.post(MESSAGES, json={"id": "message-1", "text": "hello"})
        assert answer.status_code == 200
        assert answer.json()["id"] == "message-1"
    assert host.accepted == ["message-1"]
    page = (await http.get(LINES)).json()
    assert page["lines"][0]["text"] == "hello"
    assert page["more"] is False
    assert (await http.get(LINES, params={"after": 99})).json()["lines"] == []


@pytest.mark.parametrize(
    ("body", "status", "names"),
    [
        (b"", 400, "JSON"),
        (b"junk", 400, "JSON"),
        (b"[]", 400, "JSON object"),
        (b"{}", 400, "field `id`"),
        (b'{"id":"message-1"}', 400, "field `text`"),
        (b'{"id":"message-1","text":7}', 400, "field `text`"),
        (b'{"id":"message-1","text":""}', 400, "field `text`"),
        (b'{"id":"?","text":"x"}', 400, "field `id`"),
        (b'{"id":"message-1","text":"\\udc00"}', 400, "surrogates"),
        (b"\xff\xfe", 400, "UTF-8"),
        (b'{"id":"message-1","text":"' + b"x" * 20_000 + b'"}', 413, "16384"),
        (b'{"id":"message-1","text":"' + b"x" * 1_000_000 + b'"}', 413, str(BODY_BYTES_MAX)),
    ],
)
async def test_a_wrong_body_is_answered_with_the_field_and_the_fix(
    http: httpx.AsyncClient, body: bytes, status: int, names: str
) -> None:
    answer = await http.post(MESSAGES, content=body)
    assert answer.status_code == status
    assert names in answer.json()["text"]
    good = await http.post(MESSAGES, json={"id": "message-2", "text": "fine"})
    assert good.status_code == 200


async def test_a_body_without_a_length_is_bounded_too(http: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * 16_384

    answer = await http.post(MESSAGES, content=endless())
    assert answer.status_code == 413
    assert answer.json()["code"] == "too_long"


@pytest.mark.parametrize("after", ["-1", "many", "1.5", "9" * 30])
async def test_a_wrong_line_number_is_answered_with_the_fix(
    http: httpx.AsyncClient, after: str
) -> None:
    answer = await http.get(LINES, params={"after": after})
    assert answer.status_code == 400
    assert "field `after`" in answer.json()["text"]


async def test_without_a_cookie_nothing_is_taken(server: Server, host: MemoryHost) -> None:
    async with httpx.AsyncClient(base_url=server.url) as stranger:
        answer = await stranger.post(MESSAGES, json={"id": "message-1", "text": "hello"})
        assert answer.status_code == 401
        assert "POST /api/person" in answer.json()["text"]
        assert (await stranger.get(LINES)).status_code == 401
    assert host.accepted == []


async def test_an_unavailable_host_is_503_with_the_time_to_wait(
    http: httpx.AsyncClient, host: MemoryHost
) -> None:
    host.down = 1
    answer = await http.post(MESSAGES, json={"id": "message-1", "text": "hello"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    refused = await http.post(MESSAGES, json={"id": "message-2", "text": "\x00"})
    assert (refused.status_code, refused.json()["code"]) == (422, "refused")


async def test_the_cookie_is_secure_over_https(host: MemoryHost) -> None:
    async with await remote(host) as client:
        client.base_url = httpx.URL("https://chat.example")
        cookie = (await client.get("/")).headers["set-cookie"]
        assert "Secure" in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie


def test_a_short_cookie_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        WebChat("web", b"short")


async def test_a_person_keeps_their_cookie(http: httpx.AsyncClient) -> None:
    before = http.cookies["person"]
    assert (await http.post("/api/person")).json() == {"new": False}
    assert (await http.get("/")).status_code == 200
    assert http.cookies["person"] == before


# ---- probes ------------------------------------------------------------------------------------


async def test_probes_say_whether_it_lives_and_whether_it_can_answer(
    http: httpx.AsyncClient, host: MemoryHost
) -> None:
    assert (await http.get("/healthz")).json()["status"] == "ok"
    assert (await http.get("/readyz")).status_code == 200
    host.ready = False
    answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()["reason"]) == (503, "the model is loading")
    assert (await http.get("/healthz")).status_code == 200


async def test_metrics_come_from_the_registry_that_was_given(http: httpx.AsyncClient) -> None:
    answer = await http.get("/metrics")
    assert "turns_total 1.0" in answer.text


# ---- operators ---------------------------------------------------------------------------------


async def test_an_operator_reads_says_and_hands_back(
    http: httpx.AsyncClient, host: MemoryHost
) -> None:
    session = await handed_over(http)
    at = f"/api/operator/sessions/{session}"
    lines = (await http.get(f"{at}/lines", headers=BEARER)).json()["lines"]
    assert [line["text"] for line in lines] == ["human"]
    for _ in range(2):
        said = await http.post(f"{at}/say", headers=BEARER, json={"id": "said-0001", "text": "Hi"})
        assert said.json() == {"id": "said-0001"}
    lines = (await http.get(f"{at}/lines", headers=BEARER, params={"after": 1})).json()["lines"]
    assert [(line["author"], line["text"]) for line in lines] == [("operator", "Hi")]
    back = await http.post(f"{at}/hand-back", headers=BEARER, json={"id": "back-0001"})
    assert back.status_code == 200
    again = await http.post(f"{at}/hand-back", headers=BEARER, json={"id": "back-0002"})
    assert (again.status_code, again.json()["code"]) == (422, "refused")
    assert not any(one.person for one in host.sessions.values())


async def test_a_dead_letter_is_taken_again(http: httpx.AsyncClient, host: MemoryHost) -> None:
    at = "/api/operator/dead-letters/0:7/redrive"
    assert (await http.post(at, json={"id": "redrive-1"})).status_code == 401
    answer = await http.post(at, headers=BEARER, json={"id": "redrive-1", "operator": "lin"})
    assert answer.json() == {"id": "redrive-1"}
    assert host.redriven == ["0:7"]
    none = await http.post(at.replace("7", "8"), headers=BEARER, json={"id": "redrive-2"})
    assert (none.status_code, none.json()["code"]) == (422, "refused")


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("say", b"junk"),
        ("say", b'{"id":"said-0001"}'),
        ("say", b'{"id":"said-0001","text":""}'),
        ("say", b'{"id":"x","text":"hi"}'),
        ("hand-back", b"[]"),
    ],
)
async def test_a_wrong_operator_body_is_answered_with_the_fix(
    http: httpx.AsyncClient, what: str, body: bytes
) -> None:
    answer = await http.post(f"/api/operator/sessions/s/{what}", headers=BEARER, content=body)
    assert answer.status_code == 400
    assert "The fix: a JSON object with `id`" in answer.json()["text"]


async def test_the_log_in_form_gives_a_cookie_in_place_of_the_token(
    http: httpx.AsyncClient,
) -> None:
    wrong = await http.post("/operator/login", json={"token": "guess"})
    assert wrong.status_code == 403
    right = await http.post("/operator/login", json={"token": TOKEN})
    assert right.status_code == 200
    assert "HttpOnly" in right.headers["set-cookie"]
    assert "SameSite=strict" in right.headers["set-cookie"]
    assert (await http.get("/api/operator/sessions")).status_code == 200
    await http.post("/operator/logout")
    assert (await http.get("/api/operator/sessions")).status_code == 401


async def test_guessing_the_token_is_slowed_down(http: httpx.AsyncClient) -> None:
    for _ in range(GUESSES_MAX):
        await http.post("/operator/login", json={"token": "guess"})
    assert (await http.post("/operator/login", json={"token": TOKEN})).status_code == 403
    assert (await http.get("/api/state", headers=BEARER)).status_code == 200


@pytest.mark.parametrize(
    "cookie", ["", "x", "9999999999.", "9999999999." + "0" * 32, "1.0", "²²²²²²²²²².x"]
)
async def test_a_forged_operator_cookie_opens_nothing(host: MemoryHost, cookie: str) -> None:
    async with await remote(host) as client:
        headers = {"cookie": f"operator={cookie}".encode()}
        assert (await client.get("/api/state", headers=headers)).status_code == 403


# ---- beyond this machine -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/metrics", "/api/state", "/api/operator/sessions", "/api/operator/sessions/x/lines"]
)
async def test_beyond_loopback_only_the_token_opens_what_is_not_the_chat(
    host: MemoryHost, path: str
) -> None:
    async with await remote(host) as client:
        assert (await client.get(path)).status_code == 403
        wrong = {"authorization": "Bearer guess"}
        assert (await client.get(path, headers=wrong)).status_code == 403
        assert (await client.get(path, headers=BEARER)).status_code == 200


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/static/chat.js"])
async def test_beyond_loopback_the_chat_and_the_probes_are_open(
    host: MemoryHost, path: str
) -> None:
    async with await remote(host) as client:
        assert (await client.get(path)).status_code == 200


async def test_without_a_token_nobody_is_an_operator(host: MemoryHost, server: Server) -> None:
    async with await remote(host, token="") as client:
        for path in ("/operator", "/api/state", "/metrics"):
            assert (await client.get(path, headers={"authorization": "Bearer "})).status_code == 403
        assert (await client.post("/operator/login", json={"token": ""})).status_code == 403


async def test_behind_a_proxy_on_this_machine_nobody_counts_as_local(
    http: httpx.AsyncClient,
) -> None:
    answer = await http.get("/metrics", headers={"x-forwarded-for": "203.0.113.7"})
    assert answer.status_code == 403
    assert (await http.get("/metrics")).status_code == 200


@pytest.mark.parametrize(
    "host_header",
    ["evil.example", "evil.example:80", "x/healthz?", "x/static/", "", "localhost:1:2"],
)
async def test_a_forged_host_header_opens_nothing(
    http: httpx.AsyncClient, host: MemoryHost, host_header: str
) -> None:
    headers = {"host": host_header}
    assert (await http.get("/api/state", headers=headers)).status_code in (400, 401, 403)
    assert (await http.get("/metrics", headers=headers)).status_code in (400, 403)
    async with await remote(host) as client:
        assert (await client.get("/api/state", headers=headers)).status_code == 403


async def test_on_this_machine_operators_need_the_token_all_the_same(
    http: httpx.AsyncClient,
) -> None:
    for path in ("/api/state", "/api/operator/sessions"):
        assert (await http.get(path)).status_code == 401
        assert (await http.get(path, headers=BEARER)).status_code == 200


async def test_a_page_of_another_origin_can_change_nothing(
    http: httpx.AsyncClient, host: MemoryHost
) -> None:
    for origin in ("https://evil.example", "null", "http://[", "://", ""):
        answer = await http.post(
            MESSAGES, json={"id": "message-1", "text": "x"}, headers={"origin": origin}
        )
        assert answer.status_code == 403
    assert host.accepted == []


@pytest.mark.parametrize("path", ["/", "/operator", "/static/chat.js", "/healthz", "/nowhere"])
async def test_every_answer_carries_the_security_headers(
    http: httpx.AsyncClient, path: str
) -> None:
    headers = (await http.get(path)).headers
    policy = headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/nowhere", "/docs", "/openapi.json", "/static/../app.py"])
async def test_what_is_not_there_is_a_clear_404(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path)
    assert answer.status_code == 404
    assert "nothing at this address" in answer.json()["text"]


async def test_a_bug_of_the_host_is_a_clear_500_and_the_next_request_works(
    host: MemoryHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await remote(host) as client:
        await client.post("/api/person")
        monkeypatch.setattr(host, "accepted", None)
        broken = await client.post(MESSAGES, json={"id": "message-1", "text": "x"})
        assert (broken.status_code, broken.json()["code"]) == (500, "internal")
        monkeypatch.undo()
        fine = await client.post(MESSAGES, json={"id": "message-2", "text": "x"})
        assert fine.status_code == 200
