"""LangGraph with AsyncSqliteSaver: a thread id per session, two nodes, `durability="sync"`.

The input's checkpoint records the message, that after node *model* the outcome, that after node
*finish* the reply and idle. The saver sets WAL; SQLite's own `synchronous=FULL` stands.
Run in its own environment by `bench.peers.run_peer`.
"""

import asyncio
import sys
from typing import Any, TypedDict

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

from bench.load import REPLY, AsyncTurn, fresh, text
from bench.peers.adapter import each_load_async


class Session(TypedDict, total=False):
    """What a user of LangGraph keeps of a session."""

    state: str
    turn: int
    text: str
    outcome: str
    reply: str


async def ask_model(text: str) -> str:
    """Stand in for the model."""
    return REPLY


async def model(session: Session) -> Session:
    """Ask the model; the checkpoint after this node holds the outcome."""
    return {"state": "thinking", "outcome": await ask_model(session["text"])}


async def finish(session: Session) -> Session:
    """Reply; the checkpoint after this node ends the turn."""
    return {"state": "idle", "turn": session.get("turn", 0) + 1, "reply": session["outcome"]}


def graph(saver: AsyncSqliteSaver) -> Any:
    """Compile the conversation's graph."""
    builder = StateGraph(Session)
    builder.add_node("model", model)
    builder.add_node("finish", finish)
    builder.add_edge(START, "model")
    builder.add_edge("model", "finish")
    builder.add_edge("finish", END)
    return builder.compile(checkpointer=saver)


def turn_of(app: Any) -> AsyncTurn:
    """Return the turn that the load drives."""

    async def turn(session: str, number: int) -> None:
        given = {"state": "thinking", "text": text(number)}
        config = {"configurable": {"thread_id": session}}
        ended = await app.ainvoke(given, config, durability="sync")
        assert (ended["state"], ended["reply"]) == ("idle", REPLY), ended

    return turn


async def main() -> None:
    """Open the store and take the loads."""
    database = fresh("langgraph") / "langgraph.db"
    async with AsyncSqliteSaver.from_conn_string(str(database)) as saver:
        await saver.setup()
        await each_load_async("langgraph", sys.argv[1:], turn=turn_of(graph(saver)))


if __name__ == "__main__":
    asyncio.run(main())
