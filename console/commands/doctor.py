"""`ai-assistant doctor`: look at everything that the assistant needs, and say how to fix it."""

import os

import click

from console.checkup import Verdict, check_all
from console.exit_codes import ExitCode
from console.invocation import Invocation, Stopped, as_json, with_settings
from console.terminal import plain, print_json

MARKS = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


@click.command(short_help="Check this machine and the settings, and say how to fix them.")
@with_settings
@as_json
def doctor(at: Invocation, as_json: bool) -> None:
    """Check this machine and the settings; each line says what is wrong and how to fix it.

    Ends with 0 if the assistant can run (there may be warnings), with 1 if it cannot.
    """
    findings = check_all(at.config, os.environ, data_dir=at.data)
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            mark, colour = MARKS[finding.verdict]
            click.echo(f"{click.style(mark, fg=colour)}  {finding.what}: {plain(finding.found)}")
            if finding.fix:
                click.echo(f"      fix: {plain(finding.fix)}")
    failed = sum(finding.verdict == Verdict.FAIL for finding in findings)
    if failed:
        raise Stopped(f"{failed} of {len(findings)} checks failed", ExitCode.FAILED)
