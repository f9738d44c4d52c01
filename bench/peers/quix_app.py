"""Quix Streams, exactly once, a commit every 20 ms: a turn's hops as one of its users writes them.

Two processes, as ours: `sessions` keeps its state in RocksDB with a changelog, `model` answers.
Its own environment; started by `bench.kafka.peers`, which tells it all through the environment.
"""

import os
from typing import Any

from quixstreams import Application

REPLY = "Here is what I found for you."
COMMIT_S = 0.02
ROLE, GROUP = os.environ["BENCH_ROLE"], os.environ["BENCH_GROUP"]

app = Application(
    broker_address=os.environ["BENCH_BROKERS"],
    consumer_group=f"{GROUP}{ROLE}",
    auto_offset_reset="earliest",
    processing_guarantee="exactly-once",
    commit_interval=COMMIT_S,
    state_dir=f"{os.environ['BENCH_FOLDER']}/{ROLE}",
    loglevel="WARNING",
    auto_create_topics=True,
    consumer_poll_timeout=COMMIT_S,
    producer_extra_config={"linger.ms": 5},
)


def topic(name: str) -> Any:
    """One of the four; JSON values, keyed by session."""
    return app.topic(
        GROUP + name,
        value_serializer="json",
        value_deserializer="json",
        key_serializer="str",
        key_deserializer="str",
    )


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """The model."""
    return {"kind": "outcome", "s": asked["s"], "n": asked["n"], "reply": REPLY}


def request(message: dict[str, Any]) -> dict[str, Any]:
    """Have the model answer."""
    return {"kind": "effect", "s": message["s"], "n": message["n"], "text": message["text"]}


def step(came: dict[str, Any], state: Any) -> list[dict[str, Any]]:
    """A message: idle → thinking, or it waits. An outcome: the reply, and the next one's turn."""
    session = state.get("session") or {"state": "idle", "turn": 0, "waiting": []}
    out = []
    if came["kind"] == "message":
        if session["state"] == "thinking":
            session["waiting"].append(came)
        else:
            session["state"] = "thinking"
            out.append(request(came))
    else:
        session["turn"] += 1
        out.append({**came, "kind": "reply", "turn": session["turn"]})
        if session["waiting"]:
            out.append(request(session["waiting"].pop(0)))
        else:
            session["state"] = "idle"
    state.set("session", session)
    return out


if ROLE == "model":
    app.dataframe(topic("effects")).apply(answer).to_topic(topic("outcomes"))
else:
    frame = app.dataframe(topic("in")).concat(app.dataframe(topic("outcomes")))
    frame = frame.apply(step, stateful=True, expand=True)
    frame[frame["kind"] == "effect"].to_topic(topic("effects"))
    frame[frame["kind"] == "reply"].to_topic(topic("egress"))

if __name__ == "__main__":
    app.run()
