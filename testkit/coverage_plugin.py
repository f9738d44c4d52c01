"""The pytest plugin for flow coverage: its options.

An entry point of this distribution, so it is loaded in every test run: all else is in
`testkit.coverage_run`, which is imported where an option asks for it.
"""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("flow coverage", "coverage of the flows that tests drive")
    group.addoption(
        "--flow-coverage", action="store_true", help="say what no test made the flows do"
    )
    group.addoption(
        "--flow-coverage-fail-under",
        type=float,
        metavar="N",
        help="fail where less than N %% of a flow's rows, conditions and cells were seen",
    )
    group.addoption("--flow-coverage-json", type=Path, metavar="FILE", help="write it as JSON")
    group.addoption(
        "--flow-coverage-svg",
        type=Path,
        metavar="DIR",
        help="draw each flow there, its rows coloured by how often they were taken",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin to count, where anybody asks for it."""
    names = ("flow_coverage", "flow_coverage_json", "flow_coverage_svg")
    under = config.getoption("flow_coverage_fail_under")
    if under is not None or any(config.getoption(name) for name in names):
        # Whoever installed this package and tests something else does not wait for its imports.
        from testkit.coverage_run import FlowCoverage

        config.pluginmanager.register(FlowCoverage(config), "ai-assistant-flow-coverage-of-run")
