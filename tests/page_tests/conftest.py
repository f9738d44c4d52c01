"""One Chromium for all page tests; a server, and a browser context, for each test."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from tests.channel_tests.memory_host import MemoryHost, Server

CHROMIUM = "/usr/bin/chromium"

# A connection that the test itself breaks is an error to the console, and none to the page.
EXPECTED = re.compile(r"WebSocket connection|ERR_CONNECTION|Failed to load resource")

Open = Callable[..., Awaitable[Page]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        made = await playwright.chromium.launch(executable_path=CHROMIUM)
        yield made
        await made.close()


@pytest_asyncio.fixture(loop_scope="session")
async def host() -> AsyncIterator[MemoryHost]:
    made = MemoryHost(pace_s=0.02)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="session")
async def server(host: MemoryHost) -> AsyncIterator[Server]:
    made = Server(host)
    await made.start()
    yield made
    if not made.task.done():
        await made.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Browser, server: Server) -> AsyncIterator[Open]:
    """Opens a page as a new person; whatever it complains of fails the test."""
    complaints: list[str] = []
    contexts: list[BrowserContext] = []

    def watch(page: Page) -> None:
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda said: complaints.append(said.text) if said.type in ("error",) else None,
        )

    async def opened(
        path: str = "/",
        *,
        context: BrowserContext | None = None,
        complains: bool = False,
        **settings: Any,
    ) -> Page:
        if context is None:
            defaults = {"locale": "en-US", "viewport": {"width": 1100, "height": 760}}
            context = await browser.new_context(**{**defaults, **settings})
            context.set_default_timeout(8_000)
            if not complains:
                context.on("page", watch)
            contexts.append(context)
        page = await context.new_page()
        await page.goto(server.url + path)
        return page

    yield opened
    for context in contexts:
        await context.close()
    assert [text for text in complaints if not EXPECTED.search(text)] == []


@pytest.fixture
def phone() -> dict[str, Any]:
    """The settings of a phone."""
    return {
        "viewport": {"width": 375, "height": 720},
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    }
