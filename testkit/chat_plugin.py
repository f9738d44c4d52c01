"""pytest collects `*.chat` files: each dialog of one is a test, and a failure is a conversation.

Loaded by pytest in every run, so it imports nothing of the kit until there is a file to read.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.errors import EngineError

if TYPE_CHECKING:
    from _pytest._code.code import ExceptionInfo, TerminalRepr

    from streams.chat.parse import Source

SUFFIX = ".chat"


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A `.chat` file is a file of tests."""
    if file_path.suffix != SUFFIX:
        return None
    return ChatFile.from_parent(parent, path=file_path)


class WentAnotherWay(Exception):
    """A dialog failed; the text is the whole report."""


class ChatFile(pytest.File):
    """One file: its dialogs are the tests."""

    def collect(self) -> Iterator["ChatTest"]:
        """Read it; what is wrong with it is told with its line."""
        from testkit.chat_files import read_file

        # As for test files: a flow that stands beside the file is found, whatever starts pytest.
        if (folder := str(self.path.parent)) not in sys.path:
            sys.path.insert(0, folder)
        try:
            source = read_file(self.path, self.nodeid or self.path.name)
        except EngineError as error:
            # As a test that fails: an error while collecting would keep all others from running.
            yield ChatTest.from_parent(self, name=self.path.stem, source=None, wrong=str(error))
            return
        for number, dialog in enumerate(source.chat.dialogs):
            title = dialog.title or self.path.stem
            yield ChatTest.from_parent(self, name=title, source=source, number=number)


class ChatTest(pytest.Item):
    """One dialog of a file."""

    def __init__(
        self, *, source: "Source | None", number: int = 0, wrong: str = "", **given: object
    ) -> None:
        super().__init__(**given)  # type: ignore[arg-type]  # what pytest gives to its nodes
        self._source = source
        self._number = number
        self._wrong = wrong

    def runtest(self) -> None:
        """Run it."""
        from testkit.chat_files import run_dialog

        if self._source is None:
            raise WentAnotherWay(self._wrong)
        try:
            report = run_dialog(self._source, self._number, path=self.path)
        except EngineError as error:
            raise WentAnotherWay(str(error)) from None
        if report:
            raise WentAnotherWay(report)

    def repr_failure(
        self, excinfo: "ExceptionInfo[BaseException]", style: object = None
    ) -> "str | TerminalRepr":
        """The conversation, without a traceback; a bug of the engine itself keeps its own."""
        if isinstance(excinfo.value, WentAnotherWay):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the dialog stands."""
        line = 1 if self._source is None else self._source.places[self._number][0]
        return self.path, line - 1, f"{self.path.name}: {self.name}"
