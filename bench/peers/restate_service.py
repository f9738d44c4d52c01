"""What a user of Restate writes: a virtual object keyed by session, served by granian.

The server, started by `bench.peers.restate_object`, journals each step of the handler.
"""

import restate

from bench.load import REPLY

session = restate.VirtualObject("Session")


async def ask_model() -> str:
    """Stand in for the model; Restate records what it returns."""
    return REPLY


@session.handler()
async def message(ctx: restate.ObjectContext, given: dict) -> dict:
    """Answer one message; Restate keeps the order of a key's calls."""
    ctx.set("state", "thinking")
    outcome = await ctx.run_typed("model", ask_model)
    turn = (await ctx.get("turn", type_hint=int) or 0) + 1
    ctx.set("turn", turn)
    ctx.set("state", "idle")
    ctx.set("reply", outcome)
    return {"state": "idle", "reply": outcome, "turn": turn}


app = restate.app(services=[session])
