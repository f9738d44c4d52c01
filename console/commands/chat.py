"""`ai-assistant chat`: talk to the assistant in the terminal."""

import click

from console.exit_codes import ExitCode
from console.invocation import Invocation, as_json, with_settings
from console.terminal import plain, print_json


@click.command()
@with_settings
@click.option("--once", metavar="TEXT", help="Say TEXT, print the answer, and end.")
@click.option("--new", is_flag=True, help="Begin a new conversation.")
@click.option("--url", help="The engine's address (default: the setting server.bind).")
@click.option(
    "--within", default=180.0, show_default=True, help="Seconds that --once waits for its answer."
)
@as_json
def chat(
    at: Invocation, once: str | None, new: bool, url: str | None, within: float, as_json: bool
) -> None:
    """Talk to the assistant in this terminal; end with Ctrl-D.

    The conversation goes on where it was left, unless --new is given. If no assistant runs on the
    data directory, `chat --once` starts one for this one question, without a web page. It ends with
    8 where the answer is the assistant's apology. On a cluster, an ingress worker must be running.
    """
    from console import chat_terminal

    settings = at.settings()
    if once is None:
        chat_terminal.talk(settings, url, new=new)
        return
    if not once.strip():
        raise click.UsageError("--once: say something")
    said = chat_terminal.ask(settings, url, text=once, new=new, within_s=within)
    if as_json:
        print_json(said)
    else:
        for line in said:
            click.echo(plain(line.text))
    if said and said[-1].text == chat_terminal.apology(settings):
        click.get_current_context().exit(int(ExitCode.UNANSWERED))
