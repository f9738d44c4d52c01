"""The commands of `ai-assistant`: one file each, and the group that holds them.

A command says what a person may ask and how they are answered; what it knows it has from
`console.reads` (a data directory's log), `console.client` (a running engine) or the package that
the question is about. What only one command needs, it imports when it runs: `--help` is quick.
"""

from pathlib import Path

import click

from console import exit_codes
from console.commands.chat import chat
from console.commands.config import config
from console.commands.dead_letters import dead_letters
from console.commands.doctor import doctor
from console.commands.flow import flow
from console.commands.flow_coverage import coverage
from console.commands.flow_test import test
from console.commands.keys import keys
from console.commands.models import models
from console.commands.operator import operator
from console.commands.promote import promote
from console.commands.run import run
from console.commands.sessions import sessions
from console.commands.topics import topics
from console.commands.trace import trace
from console.commands.worker import worker
from console.invocation import CONFIG_HELP, DATA_HELP, Assistant, Invocation

COMMANDS: tuple[click.Command, ...] = (
    run,
    worker,
    chat,
    sessions,
    trace,
    dead_letters,
    flow,
    models,
    operator,
    keys,
    config,
    topics,
    promote,
    doctor,
)


@click.group(
    cls=Assistant,
    epilog=f"\b\n{exit_codes.table()}",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="ai-assistant")
@click.option("--config", type=click.Path(path_type=Path), help=CONFIG_HELP)
@click.option("--data", type=click.Path(path_type=Path), help=DATA_HELP)
@click.pass_context
def assistant(context: click.Context, *, config: Path | None, data: Path | None) -> None:
    """A private AI assistant that answers in a chat and never loses a message.

    \b
    New here?
      ai-assistant models fetch     get the small default model (98 MB, once)
      ai-assistant run              start; then open http://127.0.0.1:8080
      ai-assistant doctor           if something does not work

    Each command explains itself: ai-assistant COMMAND --help
    """
    context.obj = Invocation(config=config, data=data)


for command in (test, coverage):
    flow.add_command(command)
for command in COMMANDS:
    assistant.add_command(command)
