"""One test run's flow coverage, in a worker of pytest-xdist or in the process that prints.

Registered by `testkit.coverage_plugin` where an option asks for it. What worlds did is counted by
`testkit.coverage.note`; a worker sends its part to the controller when it is done.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from testkit import coverage, coverage_report, coverage_svg
from testkit.coverage import MEASURED, Coverage, rounded
from testkit.coverage_svg import Sketch
from testkit.coverage_universe import KINDS

_SENT = "ai_assistant_flow_coverage"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of one flow, and how it is drawn: what a worker sends."""

    coverage: Coverage
    sketch: Sketch


_SEEN = msgspec.json.Decoder(tuple[Seen, ...])


class FlowCoverage:
    """One test run's coverage, in a worker or in the process that prints."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._seen: dict[str, Seen] = {}
        coverage.begin()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker of pytest-xdist is done: add what it saw."""
        sent = getattr(node, "workeroutput", {}).get(_SENT)
        for seen in _SEEN.decode(sent) if sent else ():
            self._add(seen)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Send it to the controller; or write the files, and fail where it is too little."""
        for tally in coverage.noted():
            sketch = coverage_svg.sketch(tally.flow)
            self._add(Seen(coverage=tally.coverage(), sketch=sketch))
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output[_SENT] = msgspec.json.encode(tuple(self._seen.values())).decode()
            return
        self._write()
        passed = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        if passed and self._too_little():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table."""
        if self._config.getoption("flow_coverage"):
            terminalreporter.section("flow coverage")
            named = KINDS if self._config.get_verbosity() > 0 else MEASURED
            for seen in self._seen.values():
                for line in coverage_report.told(seen.coverage, named=named):
                    terminalreporter.write_line(line)
            if not self._seen:
                terminalreporter.write_line("no test drove a flow")
        for line in self._too_little():
            terminalreporter.write_line(line, red=True)

    def _add(self, seen: Seen) -> None:
        ref = seen.coverage.flow
        old = self._seen.get(ref)
        merged = seen.coverage if old is None else old.coverage.merge(seen.coverage)
        self._seen[ref] = Seen(coverage=merged, sketch=seen.sketch)

    def _too_little(self) -> list[str]:
        under = self._config.getoption("flow_coverage_fail_under")
        if under is None:
            return []
        if not self._seen:
            return [f"FAIL flow coverage: no test drove a flow, {under:g} % are required"]
        return [
            f"FAIL flow coverage of {ref}: {rounded(seen.coverage.percent())} %, "
            f"{under:g} % are required"
            for ref, seen in self._seen.items()
            if seen.coverage.percent() < under
        ]

    def _write(self) -> None:
        file: Path | None = self._config.getoption("flow_coverage_json")
        if file is not None:
            document = coverage_report.document(one.coverage for one in self._seen.values())
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1))
        folder: Path | None = self._config.getoption("flow_coverage_svg")
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for ref, seen in self._seen.items():
                drawn = coverage_svg.picture(seen.sketch, seen.coverage)
                path = folder / f"{ref.replace('#', '-')}.svg"
                path.write_text(drawn, encoding="utf-8")
