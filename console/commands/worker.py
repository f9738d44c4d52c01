"""`ai-assistant worker`: one process of a cluster, with one role or several."""

import asyncio
import os

import click

from console.invocation import Invocation, with_settings
from streams.cluster import ROLES


@click.command()
@with_settings
@click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    type=click.Choice([*ROLES, "all"]),
    help="What it does; may be said several times. `all` is a whole small installation.",
)
def worker(at: Invocation, roles: tuple[str, ...]) -> None:
    """Work on a Kafka cluster, until it is stopped.

    \b
      ingress    web chat, its page, and the operators' page
      sessions   steps conversations: the only one that decides anything
      model      asks the model        skill   runs skills
      egress     sends to IM platforms
      clock      wakes conversations whose time is up

    Any number of each, on any machines. The brokers are set by kafka.brokers; the topics must be
    there: `ai-assistant topics create`. Probes (/healthz, /readyz) and /metrics are at server.bind.
    """
    from console.listening import log_to_stderr
    from console.working import work

    settings = at.settings(quiet=False)
    log_to_stderr()
    names = ROLES if "all" in roles else tuple(dict.fromkeys(roles))
    code = asyncio.run(work(settings, names, env=os.environ, say=click.echo))
    click.get_current_context().exit(code)
