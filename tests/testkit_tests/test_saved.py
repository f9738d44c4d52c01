"""Where a finding is saved, and what comes of a file that cannot be written, or read.

Each test is a pytest run of its own on an author's files.
"""

import pytest

from tests.testkit_tests.test_plugin import PICKY, project

__all__ = ["project"]

pytest_plugins = ("pytester",)

NEVER = ("-k", "nobody and pure or saved")


def test_what_cannot_be_saved_is_told_beside_the_finding(project: pytest.Pytester) -> None:
    project.makepyfile(test_desk=PICKY.replace("WORD", "hi"))
    (project.path / "dialogs").write_text("a file of somebody", encoding="utf-8")
    done = project.runpytest_subprocess(*NEVER)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["nobody_says_it: it does not hold in *", "not saved: *Error: *"])
    done.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_a_saved_file_that_is_none_is_a_failure_of_its_own_test(project: pytest.Pytester) -> None:
    project.makepyfile(test_desk=PICKY.replace("WORD", "hi"))
    folder = project.mkdir("dialogs")
    rubbish = folder / "test_desk.TestDesk.nobody_says_it-pure.chat"
    rubbish.write_bytes(b"\xff\xfe flow")
    other = folder / "test_desk.TestDesk.two.chat"
    other.write_text("is no chat\n", encoding="utf-8")
    done = project.runpytest_subprocess(*NEVER)
    done.assert_outcomes(failed=3)
    done.stdout.fnmatch_lines_random(
        [
            f"{rubbish.name}: this is no UTF-8 text",
            f"{other.name}:1: *is no chat*",
            f"saved: dialogs/{rubbish.stem}-2.chat, which *",
        ]
    )
    assert rubbish.read_bytes() == b"\xff\xfe flow"

    # On its own, too, and it keeps no other test from running.
    done = project.runpytest_subprocess(str(other), "test_desk.py", "-k", "loads or two")
    done.assert_outcomes(passed=1, failed=1)


def test_two_classes_of_one_name_in_one_folder_keep_their_own(project: pytest.Pytester) -> None:
    words = {"one": "hi", "two": "why?"}
    project.makepyfile(**{f"test_{name}": PICKY.replace("WORD", words[name]) for name in words})
    project.runpytest_subprocess(*NEVER).assert_outcomes(failed=2)
    for name, word in words.items():
        (path,) = (project.path / "dialogs").glob(f"test_{name}.*.chat")
        written = path.read_text(encoding="utf-8")
        assert f"\nann: {word}\n" in written
        assert f"\nfound by: test_{name}.py::TestDesk::test_nobody_says_it[pure]\n" in written
        assert "\nbreaks predicate: nobody_says_it\n" in written
    listed = project.runpytest_subprocess("--collect-only", "-q", "-k", "saved").outlines
    assert [line for line in listed if "::" in line] == [
        f"test_{name}.py::TestDesk::test_saved[nobody_says_it-pure]" for name in words
    ]
