"""DBOS on SQLite: one workflow a turn, its input the message, its one step the model.

The leanest form that a user can write: the outcome is the step's row, the reply the workflow's
output row. Plain functions on threads, which measured faster than coroutines; 1 to 64 threads
came to the same. The file is set to WAL, which measured faster than DBOS's default rollback
journal; `synchronous=FULL`.
Run in its own environment by `bench.peers.run_peer`.
"""

import os
import sqlite3
import sys

from dbos import DBOS, DBOSConfig, SetWorkflowID

from bench.load import REPLY, fresh, text
from bench.peers.adapter import each_load_threads

THREADS = 16


@DBOS.step()
def model(text: str) -> str:
    """Stand in for the model; DBOS records what it returns."""
    return REPLY


@DBOS.workflow()
def converse(session: str, text: str) -> dict[str, str]:
    """Answer one message; DBOS records the input and what this returns."""
    return {"session": session, "state": "idle", "reply": model(text)}


def turn(session: str, number: int) -> None:
    """Take one turn; the caller keeps the order of a session's turns."""
    with SetWorkflowID(f"{session}-{number}"):
        ended = converse(session, text(number))
    assert (ended["state"], ended["reply"]) == ("idle", REPLY), ended


def main() -> None:
    """Open the store and take the loads."""
    database = fresh("dbos") / "dbos.sqlite"
    connection = sqlite3.connect(database)
    connection.execute("pragma journal_mode=wal")
    connection.close()
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": f"sqlite:///{database}",
        "application_version": "1",
        "executor_id": "local",
        "log_level": "ERROR",
    }
    DBOS(config=config)
    DBOS.launch()
    each_load_threads("dbos", sys.argv[1:], turn=turn, threads=THREADS)
    os._exit(0)  # DBOS's threads would keep the process for some seconds more.


if __name__ == "__main__":
    main()
