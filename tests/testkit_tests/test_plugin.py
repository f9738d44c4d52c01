"""The pytest plugin, as an author meets it: each test is a pytest run of its own on written files.

The files are an author's project; pytest and the plugin in it are real, warnings are errors.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = ("pytester",)

HERE = Path(__file__).parent
SAME = "--hypothesis-seed=1"
"""Makes a run always the same; the example database is not asked then."""
INI = """
[pytest]
filterwarnings = error
asyncio_default_fixture_loop_scope = function
"""
TEN_LINES = """
from hypothesis import settings
from statemachines.assistant import Assistant
from testkit.dialog_tests import DialogTests, always, by_class, texts, within
SERVED = {"answered", "merged", "forwarded", "refused", "failed"}


class TestAssistant(DialogTests):
    flow, users = Assistant, 2
    settings = settings(max_examples=15)
    says = texts(chat=["hi", "报销?"], summarise=["总结一下"], human=["转人工"])
    intent = by_class(chat="chat", summarise="summarise", human="chat")
    model = ["ok", "", "系统错误: OOM", "长" * 30_000]

    @always
    def bot_is_silent_for_a_person(self, d):
        return not d.bot_replied_while("person", except_on_entry=True)

    @within(405)  # 45 s for each of the 8 that may wait, and for itself
    def everyone_is_served(self, d, message):
        return message.disposition in SERVED
"""
LOST = """
import os
from hypothesis import Phase, settings
from desk import Desk
from testkit.dialog_tests import DialogTests, texts, within

ONLY_KNOWN = [Phase.explicit, Phase.reuse]


class TestDesk(DialogTests):
    flow = Desk
    says = texts(chat=["hi", "why?"])
    model = ["ok"]
    settings = settings(
        max_examples=200, phases=ONLY_KNOWN if "ONLY_KNOWN" in os.environ else list(Phase)
    )

    @within(270)  # 30 s for each of the 8 that may wait, and for itself
    def everyone_is_served(self, d, message):
        return message.disposition is not None
"""
LOST_CHAT = [
    "everyone_is_served: ann's 2nd message, 'hi', is still waiting after 270 s",
    "*0:00  ann: hi * [[]new → open.thinking[]] asks the model",
    "* ann: hi * [[]open.thinking[]]",
    "* the model answers ok * [[]open.thinking → open.listening[]]",
    "* bot to ann: ok",
    "* ✗ everyone_is_served (ann)",
    '2 stimuli: [[]{"do":"say","kind":"chat"},{"do":"say","kind":"chat"}[]]',
]
"""As `fnmatch_lines` wants it: brackets are themselves."""
PICKY = """
from hypothesis import settings
from desk import Desk
from testkit.dialog_tests import DialogTests, always, texts


class TestDesk(DialogTests):
    flow, settings = Desk, settings(max_examples=30)
    says = texts(chat=["hi", "why?"])

    @always
    def nobody_says_it(self, d):
        return all(message.text != "WORD" for message in d.messages)
"""
OTHERS = """
from hypothesis import settings
from desk import Desk
from testkit.dialog_tests import DialogTests, always

FEW = settings(max_examples=5, database=None)


class Trap(Desk):
    name = "trap"
    transitions = [row for row in Desk.transitions if row["trigger"] != "idle"]


class Unordered(Desk):
    name = "unordered"

    def answer(self, turn):
        turn.say(" ".join({"one", "two", "three", "four", "five"}))


class Parked(Desk):
    name = "parked"
    states = ["new", dict(name="open", initial="listening", children=["listening", "thinking"])]
    transitions = [dict(trigger="stop_requested", source="open.listening", dest="new")]
    transitions += [row for row in Trap.transitions if row.get("before") != "note"]
    postpone = {"open.thinking": ["message_received"]}


class TestParked(DialogTests):
    flow, settings = Parked, FEW


class TestTrap(DialogTests):
    flow, settings = Trap, FEW


class TestUnordered(DialogTests):
    flow, settings = Unordered, FEW


class TestBoth(DialogTests):
    flow, settings, users = [Desk(), Desk()], FEW, 1


class TestOnlyTheSecond(TestBoth):
    flow = Desk

    @always
    def it_forgets_to_answer(self, d):
        d.state

    @always
    def it_breaks(self, d):
        return d.no_such_thing
"""


@pytest.fixture
def project(
    pytester: pytest.Pytester, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> pytest.Pytester:
    """An author's project with the flow in it, and the plugin as it is installed.

    A set of texts has another order in it than under seed 1.
    """
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    pytester.makeini(INI)
    pytester.makepyfile(desk=(HERE / "desk.py").read_text(encoding="utf-8"))
    known = {name for name, _ in request.config.pluginmanager.list_name_plugin()}
    if "ai-assistant-testkit" not in known:
        pytester.plugins = ["testkit.plugin"]
    return pytester


def test_the_ten_lines_pass_on_the_assistant_on_two_workers(project: pytest.Pytester) -> None:
    project.makepyfile(test_assistant=TEN_LINES)
    done = project.runpytest_subprocess("-n", "2", SAME)
    done.assert_outcomes(passed=9)


def test_a_lost_message_fails_as_a_short_chat_and_stays_a_test_until_it_is_mended(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.makepyfile(test_desk=LOST)
    done = project.runpytest_subprocess("-n", "2", "-k", "everyone or laws and pure")
    done.assert_outcomes(passed=1, failed=2)
    done.stdout.fnmatch_lines(LOST_CHAT)
    done.stdout.no_fnmatch_line("*Traceback*")
    saved = project.path / "dialogs" / "test_desk.TestDesk.everyone_is_served-simulator.chat"
    assert "ann: hi\n" in saved.read_text(encoding="utf-8")

    # The next run replays the database first: it finds the failure without making anything up.
    monkeypatch.setenv("ONLY_KNOWN", "1")
    done = project.runpytest_subprocess("-k", "everyone_is_served and pure or saved")
    done.assert_outcomes(failed=3)
    done.stdout.fnmatch_lines(LOST_CHAT)

    flow = (project.path / "desk.py").read_text(encoding="utf-8")
    queued = 'postpone = {"open.thinking": ["message_received"]}\n'
    row = next(line for line in flow.splitlines(keepends=True) if 'before="note"' in line)
    mended = flow.replace(row, "").replace("    ignore = ", f"    {queued}    ignore = ")
    (project.path / "desk.py").write_text(mended, encoding="utf-8")
    done = project.runpytest_subprocess("-k", "everyone_is_served and pure or saved")
    done.assert_outcomes(passed=3)


def test_a_build_server_finds_it_too_and_what_was_saved_is_all_it_needs(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    project.makepyfile(test_desk=LOST)
    done = project.runpytest_subprocess("-k", "everyone_is_served and pure")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(LOST_CHAT)

    # There is no example database there; the chat in the clone stands in for it.
    assert not (project.path / ".hypothesis" / "examples").exists()
    monkeypatch.setenv("ONLY_KNOWN", "1")
    done = project.runpytest_subprocess("-k", "everyone_is_served and pure or saved")
    done.assert_outcomes(skipped=1, failed=1)
    done.stdout.fnmatch_lines(LOST_CHAT)


def test_a_saved_dialog_is_kept_beside_the_next_one_and_outlives_its_class(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(test_desk=PICKY.replace("WORD", "hi"))
    asked = ("-k", "nobody and pure or saved")
    project.runpytest_subprocess(*asked).assert_outcomes(failed=1)
    first = project.path / "dialogs" / "test_desk.TestDesk.nobody_says_it-pure.chat"
    found = first.read_text(encoding="utf-8")

    # It does not hold yet: found again, it is the same file.
    project.runpytest_subprocess(*asked).assert_outcomes(failed=2)
    assert [path.name for path in first.parent.iterdir()] == [first.name]

    # It holds now, and something else is found by the same test.
    project.makepyfile(test_desk=PICKY.replace("WORD", "why?"))
    project.runpytest_subprocess(*asked).assert_outcomes(passed=1, failed=1)
    second = first.with_stem(f"{first.stem}-2")
    assert "ann: why?\n" in second.read_text(encoding="utf-8")
    assert first.read_text(encoding="utf-8") == found

    # On its own, it is still judged by the predicate that stands in its class.
    done = project.runpytest_subprocess("dialogs")
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["nobody_says_it: it does not hold in open.thinking"])
    done = project.run(Path(sys.executable).with_name("ai-assistant"), "flow", "chat", "dialogs")
    assert done.ret == 1
    done.stdout.fnmatch_lines(["nobody_says_it: it does not hold in open.thinking"])

    # Without its class, or its predicate, there is nobody who could judge it: that is said.
    for renamed in ({"TestDesk": "TestOther"}, {"nobody_says_it": "nobody_says_so"}):
        ((old, new),) = renamed.items()
        project.makepyfile(test_desk=PICKY.replace("WORD", "no").replace(old, new))
        for of in ("dialogs", "."):
            done = project.runpytest_subprocess(of, "-k", "chat or saved")
            done.assert_outcomes(failed=2)
            done.stdout.fnmatch_lines(
                ["*chat was found by *TestDesk::test_nobody_says_it[[]pure], which is no test any*"]
            )


def test_what_the_machine_shows_and_hash_seeds_are_tests_of_their_own(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(test_others=OTHERS)
    done = project.runpytest_subprocess(SAME)
    done.stdout.fnmatch_lines_random(
        [
            "*trigger 'idle': can arrive in open.listening, and nothing says what happens then",
            "    fix: add a row for it, or name 'idle' in `ignore` of these states",
            "*only a person leads out of open.listening; a dialog whose user has gone stays*",
            "    fix: add a timeout, or name the states in `rests` where it is meant",
            "*gives other bytes in a process with another PYTHONHASHSEED.",
            "*Something goes over a set, or depends on `hash`: sort it",
            "it_forgets_to_answer returned None: return True or False",
            "*AttributeError: 'Dialog' object has no attribute 'no_such_thing'",
        ]
    )
    failed = sorted(_names(done.outlines, "FAILED"))
    assert failed == [
        "TestOnlyTheSecond::test_it_breaks[pure]",
        "TestOnlyTheSecond::test_it_breaks[simulator]",
        "TestOnlyTheSecond::test_it_forgets_to_answer[pure]",
        "TestOnlyTheSecond::test_it_forgets_to_answer[simulator]",
        "TestParked::test_states_are_left_without_a_user",
        "TestTrap::test_flow_loads",
        "TestTrap::test_hash_seeds_do_not_matter",
        "TestTrap::test_laws[pure]",
        "TestTrap::test_laws[simulator]",
        "TestTrap::test_states_are_left_without_a_user",
        "TestUnordered::test_hash_seeds_do_not_matter",
    ]


def test_laws_and_predicates_are_words_for_k(project: pytest.Pytester) -> None:
    project.makepyfile(test_desk=LOST, test_others=OTHERS)
    wanted = "everyone_is_served or resolved_once and TestBoth"
    done = project.runpytest_subprocess("--collect-only", "-q", "-k", wanted)
    listed = sorted(line.partition("::")[2] for line in done.outlines if "::" in line)
    assert listed == [
        "TestBoth::test_laws[pure-desk0]",
        "TestBoth::test_laws[pure-desk1]",
        "TestBoth::test_laws[simulator-desk0]",
        "TestBoth::test_laws[simulator-desk1]",
        "TestDesk::test_everyone_is_served[pure]",
        "TestDesk::test_everyone_is_served[simulator]",
    ]


def test_the_plugin_imports_nothing_of_the_kit_where_no_test_does(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(
        test_plain="""
        import sys

        def test_plain():
            kit = {name for name in sys.modules if name.partition(".")[0] == "testkit"}
            assert all(name == "testkit" or name.endswith("plugin") for name in kit)
            assert "statemachines" not in sys.modules
        """
    )
    project.runpytest_subprocess().assert_outcomes(passed=1)


def _names(lines: list[str], word: str) -> Iterator[str]:
    for line in lines:
        if line.startswith(f"{word} "):
            yield line.removeprefix(f"{word} ").partition("::")[2].partition(" - ")[0]
