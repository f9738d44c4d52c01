"""The operators' page, together with the chat of the person who was handed over."""

from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.channel_tests.memory_host import TOKEN, MemoryHost, Server
from tests.page_tests.conftest import Open

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def sign_in(page: Page, token: str = TOKEN) -> None:
    await page.fill("#token", token)
    await page.press("#token", "Enter")


async def handed_over(open_page: Open) -> Page:
    """A person's chat that was handed over."""
    chat = await open_page()
    await chat.fill("#input", "human")
    await chat.press("#input", "Enter")
    await expect(chat.locator("#state-text")).to_have_text("Waiting for a colleague")
    return chat


async def test_a_person_is_handed_over_talked_to_and_handed_back(
    open_page: Open, host: MemoryHost
) -> None:
    chat = await handed_over(open_page)
    await expect(chat.locator("#notice")).to_contain_text("A colleague was called")
    desk = await open_page("/operator")
    await sign_in(desk)
    await expect(desk.locator("#list .said")).to_have_text("human")
    await desk.click("#list .choose")
    await expect(desk.locator(".lines .line .text")).to_have_text("human")
    await desk.fill("#input", "This is **Lin**.")
    await desk.press("#input", "Enter")
    await expect(chat.locator(".lines .line.operator strong")).to_have_text("Lin")
    await expect(chat.locator(".lines .line.operator .name")).to_have_text("Colleague")
    await expect(chat.locator("#state-text")).to_have_text("With a colleague")
    await expect(chat.locator("#notice")).to_contain_text("reads along")
    await expect(desk.locator(".lines .line.operator")).to_have_count(1)
    await expect(desk.locator(".open .line")).to_have_count(0)
    await chat.fill("#input", "thank you")
    await chat.press("#input", "Enter")
    await expect(desk.locator(".lines .line.user .text")).to_have_text(["human", "thank you"])
    await desk.click("#hand-back")
    await expect(desk.locator("#nobody-title")).to_have_text("Nobody is waiting")
    await expect(chat.locator("#state-text")).to_have_text("Ready")
    await expect(chat.locator("#notice")).to_be_hidden()
    assert not any(session.person for session in host.sessions.values())


async def test_only_the_token_opens_the_desk(open_page: Open) -> None:
    await handed_over(open_page)
    desk = await open_page("/operator")
    await expect(desk.locator("#app")).to_be_hidden()
    await sign_in(desk, "a guess")
    await expect(desk.locator("#wrong")).to_contain_text("That is not the token")
    await sign_in(desk)
    await expect(desk.locator("#list li")).to_have_count(1)
    await desk.reload()
    await expect(desk.locator("#list li")).to_have_count(1)
    await desk.click("#sign-out")
    await expect(desk.locator("#token")).to_be_focused()
    await desk.reload()
    await expect(desk.locator("#login")).to_be_visible()


async def test_what_an_operator_says_during_a_restart_is_said_once(
    open_page: Open, server: Server
) -> None:
    chat = await handed_over(open_page)
    desk = await open_page("/operator")
    await sign_in(desk)
    await desk.click("#list .choose")
    await expect(desk.locator(".lines .line")).to_have_count(1)
    await server.die()
    await desk.fill("#input", "still here")
    await desk.press("#input", "Enter")
    await expect(desk.locator("#trouble")).to_be_visible()
    await expect(desk.locator(".line.pending")).to_have_count(1)
    await server.start()
    await expect(chat.locator(".lines .line.operator .text")).to_have_text("still here")
    await expect(desk.locator("#trouble")).to_be_hidden()
    await expect(desk.locator(".line.pending")).to_have_count(0)
    await expect(desk.locator(".lines .line.operator")).to_have_count(1)


async def test_what_a_person_writes_cannot_run_at_the_desk(open_page: Open) -> None:
    chat = await handed_over(open_page)
    await chat.fill("#input", "<img src=x onerror=window.pwned=1>")
    await chat.press("#input", "Enter")
    desk = await open_page("/operator")
    await sign_in(desk)
    await expect(desk.locator("#list .said")).to_have_text("<img src=x onerror=window.pwned=1>")
    await desk.click("#list .choose")
    await expect(desk.locator(".lines .line.user")).to_have_count(2)
    assert await desk.evaluate("window.pwned") is None


async def test_the_desk_works_in_chinese_and_on_a_phone(
    open_page: Open, phone: dict[str, Any]
) -> None:
    await handed_over(open_page)
    desk = await open_page("/operator", **phone, locale="zh-CN")
    await expect(desk.locator("#login h1")).to_have_text("人工坐席")
    await sign_in(desk)
    await desk.tap("#list .choose")
    await expect(desk.locator("#hand-back")).to_have_text("交还给助手")
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await desk.evaluate(wide) == 0
    await desk.tap("#back")
    await expect(desk.locator("#list .choose")).to_be_visible()
