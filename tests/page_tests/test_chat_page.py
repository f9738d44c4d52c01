"""The chat page as a person uses it."""

import re
from typing import Any

import pytest
from playwright.async_api import Page, expect

from adapters.skills.base import SkillContext
from adapters.skills.summary import DocumentSummary
from engine.ports import Frame
from tests.channel_tests.memory_host import MemoryHost, Server
from tests.page_tests.conftest import Open

pytestmark = pytest.mark.asyncio(loop_scope="session")

ATTACKS = [
    "<script>window.pwned=1</script>",
    "<img src=x onerror='window.pwned=1'>",
    "[click](javascript:window.pwned=1)",
    "<svg onload=window.pwned=1>",
    "<iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
    '<a href="javascript:window.pwned=1">x</a>',
    "<style>*{display:none}</style>",
    "<math><mtext><script>window.pwned=1</script></mtext></math>",
    "<form action=//evil.example><input name=q></form>",
]


async def say(page: Page, text: str) -> None:
    await page.fill("#input", text)
    await page.press("#input", "Enter")


async def answered(page: Page, text: str) -> None:
    """Say it, and wait for the durable answer."""
    before = await page.locator(".lines .line.bot").count()
    await say(page, text)
    await expect(page.locator(".lines .line.bot")).to_have_count(before + 1)


async def test_a_message_is_sent_streamed_and_answered(open_page: Open, host: MemoryHost) -> None:
    page = await open_page()
    await expect(page.locator("#hello")).to_be_visible()
    await expect(page.locator("#state-text")).to_have_text("Ready")
    host.hold.clear()
    await say(page, "say: some **bold** words and `code`")
    await expect(page.locator(".streaming strong")).to_have_text("bold")
    await expect(page.locator("#state-text")).to_have_text("Writing…")
    await expect(page.locator("#hello")).to_be_hidden()
    host.hold.set()
    await expect(page.locator(".lines .line.bot strong")).to_have_text("bold")
    await expect(page.locator(".streaming")).to_have_count(0)
    await expect(page.locator(".pending")).to_have_count(0)
    await expect(page.locator("#state-text")).to_have_text("Ready")
    assert await page.input_value("#input") == ""


async def test_enter_sends_and_shift_enter_starts_a_line(open_page: Open, host: MemoryHost) -> None:
    page = await open_page()
    await expect(page.locator("#send")).to_be_disabled()
    await page.locator("#input").press_sequentially("one")
    await page.press("#input", "Shift+Enter")
    await page.locator("#input").press_sequentially("two")
    await expect(page.locator("#send")).to_be_enabled()
    await page.press("#input", "Enter")
    await expect(page.locator(".lines .line.user .text")).to_have_text("one\ntwo")
    assert host.incoming[0].text == "one\ntwo"


async def test_an_input_method_s_enter_does_not_send(open_page: Open, host: MemoryHost) -> None:
    page = await open_page(locale="zh-CN")
    await page.fill("#input", "ni hao")
    await page.evaluate(
        """() => document.getElementById("input").dispatchEvent(new KeyboardEvent("keydown",
        {key: "Enter", isComposing: true, bubbles: true, cancelable: true}))"""
    )
    await answered(page, "你好")
    assert [one.text for one in host.incoming] == ["你好"]


async def test_stop_ends_a_reply_and_says_so(open_page: Open, host: MemoryHost) -> None:
    page = await open_page()
    host.hold.clear()
    await say(page, "one two three")
    await expect(page.locator(".streaming .text")).to_contain_text("three")
    await page.click("#stop")
    await expect(page.locator(".lines .how.stopped")).to_have_text("Stopped")
    await expect(page.locator("#stop")).to_be_hidden()
    await expect(page.locator("#input")).to_be_focused()
    await expect(page.locator(".streaming")).to_have_count(0)


@pytest.mark.parametrize(("locale", "word"), [("en-US", "human"), ("zh-CN", "转人工")])
async def test_a_person_can_be_asked_for_in_the_middle_of_a_conversation(
    open_page: Open, host: MemoryHost, locale: str, word: str
) -> None:
    page = await open_page(locale=locale)
    await expect(page.locator("#state-text")).not_to_have_text("Connecting…")
    await expect(page.locator("#ask-person")).to_be_hidden()  # the ideas offer it
    await answered(page, "hello")
    await page.fill("#input", "a draft")
    host.hold.set()
    await page.click("#ask-person")
    await expect(page.locator(".lines .line.user .text")).to_have_text(["hello", word])
    assert host.incoming[-1].text == word
    assert await page.input_value("#input") == "a draft"


async def test_the_control_is_gone_while_a_person_answers(open_page: Open) -> None:
    page = await open_page()
    await answered(page, "hello")
    await page.click("#ask-person")
    await expect(page.locator("#state-text")).to_have_text("Waiting for a colleague")
    await expect(page.locator("#ask-person")).to_be_hidden()


async def test_an_idea_begins_a_summary_that_the_skill_takes(open_page: Open) -> None:
    page = await open_page()
    await page.click("#ideas .idea:has-text('Summarise')")
    begun = await page.input_value("#input")
    words = DocumentSummary(SkillContext()).get_metadata()["trigger_words"]
    assert begun.removesuffix(":\n").lower() in words
    await page.click("#language")
    await page.click("#ideas .idea:has-text('总结')")
    assert (await page.input_value("#input")).removesuffix("：") in words


async def test_a_stop_before_the_first_frame_names_the_reply_that_it_means(
    open_page: Open, host: MemoryHost
) -> None:
    page = await open_page()
    host.pace_s = 60  # the model has shown nothing yet
    await say(page, "think about it")
    await page.click("#stop")
    await expect(page.locator(".lines .how.stopped")).to_have_text("Stopped")
    (line,) = [one for s in host.sessions.values() for one in s.lines if one.author == "bot"]
    assert host.stopped == [line.id]


async def test_a_reload_shows_the_conversation_the_open_reply_and_the_draft(
    open_page: Open, host: MemoryHost
) -> None:
    page = await open_page()
    await answered(page, "first")
    host.hold.clear()
    await say(page, "second one")
    await expect(page.locator(".streaming .text")).to_contain_text("second one")
    await page.fill("#input", "half a thou")
    await page.reload()
    await expect(page.locator(".lines .line")).to_have_count(3)
    await expect(page.locator(".streaming .text")).to_contain_text("second one")
    assert await page.input_value("#input") == "half a thou"
    host.hold.set()
    await expect(page.locator(".lines .line")).to_have_count(4)


async def test_a_server_that_dies_and_returns_loses_and_doubles_nothing(
    open_page: Open, server: Server, host: MemoryHost
) -> None:
    page = await open_page()
    await answered(page, "before")
    await page.locator("#input").press_sequentially("typed wh")
    await server.die()
    await expect(page.locator("#state-text")).to_have_text("Reconnecting…")
    await page.locator("#input").press_sequentially("ile away")
    await page.press("#input", "Enter")
    await expect(page.locator(".line.pending .note")).to_have_text(
        "Will be sent when the connection is back"
    )
    await page.fill("#input", "a draft")
    await server.start()
    await expect(page.locator(".lines .line")).to_have_count(4)
    await expect(page.locator(".line.pending")).to_have_count(0)
    await expect(page.locator("#state-text")).to_have_text("Ready")
    assert await page.locator(".lines .line.user .text").all_text_contents() == [
        "before",
        "typed while away",
    ]
    assert await page.input_value("#input") == "a draft"
    assert len(host.accepted) == 2


async def test_a_message_written_offline_survives_a_reload(
    open_page: Open, server: Server, host: MemoryHost
) -> None:
    page = await open_page()
    await answered(page, "before")
    await server.stop()
    await expect(page.locator("#state-text")).to_have_text("Reconnecting…")
    await say(page, "kept in the browser")
    await server.start()
    await page.reload()
    await expect(page.locator(".lines .line.user .text")).to_have_text(
        ["before", "kept in the browser"]
    )
    assert len(host.accepted) == 2


async def test_a_restart_in_the_middle_of_a_reply_shows_the_second_attempt(
    open_page: Open, server: Server, host: MemoryHost
) -> None:
    page = await open_page()
    host.hold.clear()
    await say(page, "a reply that is cut off")
    await expect(page.locator(".streaming .text")).to_contain_text("cut off")
    await server.die()
    (session,) = host.sessions.values()
    assert session.open
    assert session.task
    session.task.cancel()
    again = {"reply_id": session.open.reply_id, "session_id": session.id, "attempt": 1}
    session.open = Frame(**again, n=1, text="Begun anew")
    await server.start()
    await expect(page.locator(".streaming .text")).to_have_text("Begun anew")
    host.finish(session, "Begun anew, and ended.", how="answered")
    await expect(page.locator(".lines .line.bot .text")).to_have_text("Begun anew, and ended.")
    await expect(page.locator(".streaming")).to_have_count(0)


async def test_an_empty_server_makes_the_page_begin_anew(
    open_page: Open, server: Server, host: MemoryHost
) -> None:
    page = await open_page()
    await answered(page, "one")
    await answered(page, "two")
    await server.stop()
    host.sessions.clear()
    await server.start()
    await answered_from(page, "three")
    assert await page.locator(".lines .line.user .text").all_text_contents() == ["three"]


async def answered_from(page: Page, text: str) -> None:
    await say(page, text)
    await expect(page.locator(".lines .line.bot .text")).to_have_text([f"You said: {text}"])


async def test_a_refused_message_shows_why_and_can_be_edited(open_page: Open) -> None:
    page = await open_page()
    await say(page, "字" * 6_000)
    await expect(page.locator(".line.refused .note")).to_contain_text("at most 16384")
    await page.click(".line.refused button[data-action=edit]")
    assert len(await page.input_value("#input")) == 6_000
    await expect(page.locator(".line.refused")).to_have_count(0)
    await answered(page, "short")


async def test_a_message_says_when_it_was_sent_by_the_server_s_time(
    open_page: Open, server: Server, host: MemoryHost
) -> None:
    page = await open_page()
    await page.clock.set_system_time(0)  # a computer that lost its clock
    await page.reload()
    await answered(page, "at once")
    assert host.incoming[0].sent_ms is not None
    assert abs(host.incoming[0].sent_ms - host.now_ms()) < 60_000
    await server.stop()
    await expect(page.locator("#state-text")).to_have_text("Reconnecting…")
    await say(page, "kept")
    await page.clock.set_system_time(25 * 3_600)
    await server.start()
    await page.reload()
    await expect(page.locator(".lines .line")).to_have_count(4)
    assert host.incoming[1].sent_ms is not None
    assert 24 < (host.now_ms() - host.incoming[1].sent_ms) / 3_600_000 < 26


async def test_a_message_that_came_too_late_says_so_and_can_be_tried_again(
    open_page: Open, host: MemoryHost
) -> None:
    page = await open_page()
    await answered(page, "hello")
    (session,) = host.sessions.values()
    host.write(session, "message-late", "user", "is anybody there?", how="expired")
    await expect(page.locator(".lines .how")).to_have_text(
        "Arrived more than a day late, so it was not answered"
    )
    await page.click("button[data-action=again]")
    assert await page.input_value("#input") == "is anybody there?"
    await page.press("#input", "Enter")
    await expect(page.locator(".lines .line.bot")).to_have_count(2)
    assert [one.text for one in host.incoming] == ["hello", "is anybody there?"]


async def test_an_unavailable_server_is_asked_again(open_page: Open, host: MemoryHost) -> None:
    page = await open_page()
    await expect(page.locator("#state-text")).to_have_text("Ready")
    host.down = 3
    await answered(page, "patience")
    assert len(host.accepted) == 1


async def test_light_and_dark_follow_the_system_and_the_toggle(open_page: Open) -> None:
    page = await open_page(color_scheme="dark")
    dark, light = "rgb(23, 24, 22)", "rgb(251, 250, 248)"
    body = page.locator("body")
    await expect(body).to_have_css("background-color", dark)
    await page.click("#theme")
    await expect(body).to_have_css("background-color", light)
    await page.reload()
    await expect(body).to_have_css("background-color", light)
    await page.click("#theme")
    await expect(body).to_have_css("background-color", dark)
    await page.emulate_media(color_scheme="light")
    await expect(body).to_have_css("background-color", light)


async def test_english_and_chinese_follow_the_browser_and_the_toggle(open_page: Open) -> None:
    page = await open_page(locale="zh-CN")
    await expect(page.locator("#hello h2")).to_have_text("有什么可以帮您？")
    await expect(page.locator("#state-text")).to_have_text("在线")
    assert await page.get_attribute("html", "lang") == "zh-CN"
    await answered(page, "你好")
    await page.click("#language")
    await expect(page.locator(".line.bot .name")).to_have_text("Assistant")
    await expect(page.locator("#state-text")).to_have_text("Ready")
    await page.reload()
    await expect(page.locator("#new")).to_contain_text("New conversation")
    await expect(page.locator(".lines .line")).to_have_count(2)


async def test_every_word_exists_in_both_languages(open_page: Open) -> None:
    page = await open_page()
    source = await (await page.request.get(page.url + "static/words.js")).text()
    english, chinese = source.partition("\n};")[0].split("  zh: {")
    keys = [set(re.findall(r"(\w+):\s+\"", part)) for part in (english, chinese)]
    assert keys[0] == keys[1]


async def test_a_phone_s_width_is_enough(open_page: Open, phone: dict[str, Any]) -> None:
    page = await open_page(**phone)
    await answered(
        page, "say: ```\n" + "x" * 300 + "\n```\n\n" + "|a|b|c|\n|-|-|-|\n|" + "w" * 90 + "|2|3|"
    )
    await answered(page, "y" * 500)
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await page.evaluate(wide) == 0
    overflow = "node => node.scrollWidth - node.clientWidth"
    assert await page.locator("#scroll").evaluate(overflow) == 0
    await expect(page.locator("#side")).not_to_be_in_viewport()
    await page.tap("#side-open")
    await expect(page.locator("#side")).to_be_in_viewport()
    await page.tap("#new")
    await expect(page.locator("#side")).not_to_be_in_viewport()
    await expect(page.locator("#hello")).to_be_visible()


async def test_what_is_said_cannot_run(open_page: Open) -> None:
    page = await open_page()
    for attack in ATTACKS:
        await answered(page, f"say: {attack}")
        await answered(page, attack)
    thread = page.locator("#thread")
    await expect(thread.locator("script, iframe, style, form, math, img")).to_have_count(0)
    for link in await thread.locator(".text a").all():
        assert (await link.get_attribute("href") or "https:").startswith(("http", "mailto"))
    assert await page.evaluate("window.pwned") is None


async def test_an_answer_in_another_conversation_is_marked(
    open_page: Open, host: MemoryHost
) -> None:
    page = await open_page()
    host.hold.clear()
    await say(page, "a slow one")
    await expect(page.locator(".streaming .text")).to_contain_text("a slow one")
    await page.click("#new")
    host.hold.set()
    await expect(page.locator("#list .unread")).to_have_count(1)
    await page.click("#list .choose")
    await expect(page.locator(".lines .line")).to_have_count(2)
    await expect(page.locator("#list .unread")).to_have_count(0)


async def test_the_page_s_own_filter_holds_without_the_server_s(open_page: Open) -> None:
    # Parsing an attack into an inert document is reported by the browser's own policy, too.
    page = await open_page(complains=True)
    got = await page.evaluate(
        """async (attacks) => {
          const { safe } = await import("/static/safe_html.js");
          const box = document.createElement("div");
          box.append(safe(attacks.join("") + '<p onclick="pwned=1" style="x" id="send">kept</p>'
            + '<a href=" java\\nscript:pwned=1">a</a><ol start="3"><li>b</li></ol>'));
          document.body.append(box);
          const all = [...box.querySelectorAll("*")];
          return {tags: all.map((node) => node.tagName),
            attributes: all.flatMap((node) => node.getAttributeNames()), text: box.textContent};
        }""",
        ATTACKS,
    )
    assert set(got["tags"]) <= {"P", "A", "OL", "LI"}
    assert set(got["attributes"]) <= {"href", "target", "rel", "start"}
    assert "kept" in got["text"]
    assert await page.evaluate("window.pwned") is None


async def test_several_conversations_stand_in_the_side(open_page: Open) -> None:
    page = await open_page()
    await answered(page, "about apples")
    await page.click("#new")
    await expect(page.locator("#thread .line")).to_have_count(0)
    await answered(page, "about pears")
    await expect(page.locator("#list .name")).to_have_text(["about pears", "about apples"])
    await page.fill("#input", "draft on pears")
    await page.click("#list li:nth-child(2) .choose")
    await expect(page.locator(".lines .line.user .text")).to_have_text("about apples")
    assert await page.input_value("#input") == ""
    await page.click("#list .choose:has-text('pears')")
    assert await page.input_value("#input") == "draft on pears"
    row = page.locator("#list li", has_text="apples")
    await row.hover()
    await row.locator(".remove").click()
    await expect(row.locator(".remove")).to_have_text("Remove?")
    await row.locator(".remove").click()
    await expect(page.locator("#list li")).to_have_count(1)


async def test_more_conversations_than_a_socket_follows_all_work(open_page: Open) -> None:
    page = await open_page()
    await page.evaluate(
        """() => { for (let n = 0; n < 40; n += 1) localStorage.setItem(
        `chat:c:conversation-${n}`, JSON.stringify({title: `title ${n}`, at: n + 1, last: 0})); }"""
    )
    await page.reload()
    await expect(page.locator("#list li")).to_have_count(40)
    for n in range(40):
        await page.click(f"#list .choose:has-text('title {n}') >> nth=0")
    for n in (0, 20, 39):
        await page.locator("#list .choose", has=page.get_by_text(f"title {n}", exact=True)).click()
        await answered(page, f"in {n}")


async def test_two_tabs_show_one_conversation(open_page: Open) -> None:
    first = await open_page()
    await answered(first, "from the first")
    second = await open_page(context=first.context)
    await expect(second.locator(".lines .line")).to_have_count(2)
    await answered(second, "from the second")
    await expect(first.locator(".lines .line")).to_have_count(4)
    await expect(first.locator(".lines .line.user .text")).to_have_text(
        ["from the first", "from the second"]
    )


async def test_new_lines_do_not_pull_a_reader_down(open_page: Open, host: MemoryHost) -> None:
    page = await open_page()
    await answered(page, "say: " + "a line\n\n" * 60)
    scroll = page.locator("#scroll")
    at = "node => node.scrollHeight - node.scrollTop - node.clientHeight"
    assert await scroll.evaluate(at) < 2
    await scroll.evaluate("node => { node.scrollTop = 100; }")
    await page.wait_for_timeout(100)
    (session,) = host.sessions.values()
    host.write(session, "a-later-line", "bot", "something new")
    await expect(page.locator("#pill")).to_be_visible()
    assert await scroll.evaluate("node => node.scrollTop") == 100
    await page.click("#pill")
    await expect(page.locator("#pill")).to_be_hidden()
    await expect(page.locator(".lines .line").last).to_be_in_viewport()


async def test_a_long_conversation_opens_at_its_end_and_gives_more(
    open_page: Open, host: MemoryHost
) -> None:
    page = await open_page()
    await answered(page, "the beginning")
    (session,) = host.sessions.values()
    for n in range(300):
        host.write(session, f"written-{n}", "bot", f"line {n}")
    await expect(page.locator(".lines .line").last).to_contain_text("line 299")
    await page.reload()
    await expect(page.locator(".lines .line").last).to_contain_text("line 299")
    await expect(page.locator(".lines .line")).to_have_count(150)
    for count in (300, 302):
        await page.click(".earlier button")
        await expect(page.locator(".lines .line")).to_have_count(count)
    await expect(page.locator(".earlier button")).to_have_count(0)
    await expect(page.locator(".lines .line").first).to_contain_text("the beginning")


async def test_a_thumb_reaches_the_host_and_stays(open_page: Open, host: MemoryHost) -> None:
    page = await open_page()
    await answered(page, "hello")
    await page.click("button[data-action=up]")
    await expect(page.locator("button[data-action=up]")).to_have_attribute("aria-pressed", "true")
    await page.click("button[data-action=down]")
    await expect(page.locator("button[data-action=up]")).to_have_attribute("aria-pressed", "false")
    await page.reload()
    await expect(page.locator("button[data-action=down]")).to_have_attribute("aria-pressed", "true")
    assert [verdict for _, verdict in host.verdicts] == ["up", "down"]


async def test_code_and_answers_can_be_copied(open_page: Open) -> None:
    page = await open_page(permissions=["clipboard-read", "clipboard-write"])
    await answered(page, "say: Look:\n```python\nprint(1)\n```")
    await page.click(".copy-code")
    await expect(page.locator(".copy-code")).to_have_text("Copied")
    assert await page.evaluate("navigator.clipboard.readText()") == "print(1)\n"
    await page.click("button[data-action=copy]")
    copied = await page.evaluate("navigator.clipboard.readText()")
    assert copied == "Look:\n```python\nprint(1)\n```"


async def test_an_answer_can_be_quoted(open_page: Open, host: MemoryHost) -> None:
    page = await open_page()
    await answered(page, "say: a long text")
    await page.click("button[data-action=quote]")
    await expect(page.locator("#quote-text")).to_have_text("a long text")
    await answered(page, "summarise it")
    assert host.incoming[-1].quoted == "a long text"
    await expect(page.locator("#quote")).to_be_hidden()


async def test_a_quote_is_never_cut_through_a_character(open_page: Open, host: MemoryHost) -> None:
    page = await open_page()
    await answered(page, "say: x" + "😀" * 1_500)
    await page.click("button[data-action=quote]")
    await answered(page, "summarise it")
    assert host.incoming[-1].quoted.startswith("x😀😀")


async def test_a_finished_answer_is_announced_to_screen_readers(open_page: Open) -> None:
    page = await open_page()
    await answered(page, "hello")
    await expect(page.locator("#announce")).to_have_text("You said: hello")
    assert await page.get_attribute("#announce", "aria-live") == "polite"


async def test_every_button_has_a_name_and_is_reached_by_keyboard(open_page: Open) -> None:
    page = await open_page()
    await answered(page, "hello")
    nameless = await page.evaluate(
        """() => [...document.querySelectorAll("button")].filter((one) =>
        !(one.getAttribute("aria-label") || one.textContent.trim())).map((one) => one.outerHTML)"""
    )
    assert nameless == []
    await page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(16):
        await page.keyboard.press("Tab")
        reached.append(
            await page.evaluate(
                "document.activeElement.id || document.activeElement.dataset.action"
                " || document.activeElement.className"
            )
        )
    order = [name for name in reached if name in ("skip", "new", "language", "copy", "input")]
    assert order[:5] == ["skip", "new", "language", "copy", "input"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_has_enough_contrast(open_page: Open, scheme: str) -> None:
    page = await open_page(color_scheme=scheme)
    ratios = await page.evaluate(
        """() => {
          const style = getComputedStyle(document.documentElement);
          const light = (name) => {
            const [r, g, b] = style.getPropertyValue(name).trim().match(/[0-9a-f]{2}/gi)
              .map((hex) => parseInt(hex, 16) / 255)
              .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const pairs = [["--ink", "--paper"], ["--ink", "--tint"], ["--ink-soft", "--side"],
            ["--ink-faint", "--paper"], ["--ink-faint", "--side"], ["--ink-faint", "--raised"],
            ["--accent", "--paper"], ["--on-accent", "--accent"], ["--warm", "--warm-tint"],
            ["--bad", "--bad-tint"], ["--ink-soft", "--hover"]];
          return Object.fromEntries(pairs.map(([a, b]) => {
            const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
            return [`${a} on ${b}`, (x + 0.05) / (y + 0.05)];
          }));
        }"""
    )
    assert {pair: round(ratio, 2) for pair, ratio in ratios.items() if ratio < 4.5} == {}
