"""A plain Faust agent that does a turn's hops: what a user of Faust writes, without an engine.

Two processes, as ours: `sessions` holds the state machine in a table, `model` answers. At least
once, and not exact: a death loses or doubles what it had in hand. Its own environment; started by
`bench.kafka.peers`, which tells it all through the environment.
"""

import os
from typing import Any

import faust

REPLY = "Here is what I found for you."
ROLE, GROUP = os.environ["BENCH_ROLE"], os.environ["BENCH_GROUP"]
PARTITIONS = int(os.environ["BENCH_PARTITIONS"])

app = faust.App(
    f"{GROUP}{ROLE}",
    broker=f"kafka://{os.environ['BENCH_BROKERS']}",
    store="memory://",
    topic_partitions=PARTITIONS,
    topic_replication_factor=1,
    datadir=os.environ["BENCH_FOLDER"],
    web_enabled=False,
    topic_disable_leader=True,
    autodiscover=False,
    stream_buffer_maxsize=16_384,
    producer_linger=0.005,
    producer_max_request_size=1 << 20,
)


def topic(name: str) -> Any:
    """One of the four; JSON values, keyed by session."""
    return app.topic(
        GROUP + name,
        key_type=str,
        key_serializer="raw",
        value_serializer="json",
        partitions=PARTITIONS,
    )


messages_in, outcomes_in = topic("in"), topic("outcomes")
effects, replies = topic("effects"), topic("egress")

if ROLE == "model":

    @app.agent(effects)
    async def model(stream: Any) -> None:
        """Answer at once."""
        async for asked in stream:
            outcome = {"s": asked["s"], "n": asked["n"], "reply": REPLY}
            await outcomes_in.send(key=asked["s"], value=outcome)

else:
    sessions = app.Table("sessions", partitions=PARTITIONS)

    def known(session: str) -> dict[str, Any]:
        """The session, or a new one."""
        if session in sessions:
            return sessions[session]  # type: ignore[no-any-return]
        return {"state": "idle", "turn": 0, "waiting": []}

    async def ask(message: dict[str, Any]) -> None:
        """Have the model answer."""
        asked = {"s": message["s"], "n": message["n"], "text": message["text"]}
        await effects.send(key=message["s"], value=asked)

    @app.agent(messages_in)
    async def messages(stream: Any) -> None:
        """A message: idle → thinking, or it waits."""
        async for message in stream:
            session = known(message["s"])
            if session["state"] == "thinking":
                session["waiting"].append(message)
            else:
                session["state"] = "thinking"
                await ask(message)
            sessions[message["s"]] = session

    @app.agent(outcomes_in)
    async def outcomes(stream: Any) -> None:
        """An outcome: the reply goes out; thinking → idle, or the next one's turn."""
        async for outcome in stream:
            session = known(outcome["s"])
            session["turn"] += 1
            reply = {**outcome, "turn": session["turn"]}
            await replies.send(key=outcome["s"], value=reply)
            if session["waiting"]:
                await ask(session["waiting"].pop(0))
            else:
                session["state"] = "idle"
            sessions[outcome["s"]] = session


if __name__ == "__main__":
    app.main()
