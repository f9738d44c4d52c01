"""Defects of the SQLite log: what is in its transaction, and what a restart finds there again.

Written from the design before any of them was tried. That a commit reaches the disk is not among
them: no power fails in any world of the kit.
"""

from tests.mutants.patch import Mutant

LOG, BATCH = "adapters/logs/sqlite.py", "adapters/logs/sqlite_batch.py"

MUTANTS = (
    Mutant(
        name="watermark-written-at-once",
        says="The watermark is written when it is put, not with its batch.",
        law="§7, §8: events, sessions and watermark in one transaction",
        file=BATCH,
        old="        self._watermark = [(offset,)]\n",
        new="        self._writing.database.execute(PUT_WATERMARK, (offset,))\n",
    ),
    Mutant(
        name="failed-batch-is-remembered",
        says="What a failed batch numbered its rows by is what the next batch goes on from.",
        law="§7: one transaction, durable whole or not at all",
        file=LOG,
        old="            writing.known.clear()\n",
        new="",
    ),
    Mutant(
        name="open-replies-not-found-again",
        says="After a restart a reply that was on its way is written beside itself.",
        law="§10: one delivery record holds all of a reply; at rest each has its receipt",
        file=BATCH,
        old="in (select place from delivery where open = 1)\n",
        new="in (select place from delivery where open = 2)\n",
    ),
    Mutant(
        name="receipted-stays-open",
        says="A reply that has its receipt counts as on its way when the process starts again.",
        law="§4 law 8, §10: a receipted reply is done with, also after a restart",
        file=BATCH,
        old="                changed.append((is_open, packed_delivery(one), place))\n",
        new="                changed.append((True, packed_delivery(one), place))\n",
    ),
    Mutant(
        name="waits-again-unnoticed",
        says="A session that waited, did not, and waits again is not found after a restart.",
        law="§4 law 7: every message has its disposition within B",
        file=BATCH,
        old="            if waits != known.waits:\n",
        new="            if waits != known.waits and not (waits and known.stored):\n",
    ),
    Mutant(
        name="session-read-once",
        says="A session is read from the file once, and from memory ever after.",
        law="§6: a read gives the last committed bytes",
        file=LOG,
        old='        rows = self._all("select value from session where id = ?", session_id)\n',
        new='        known = self.__dict__.setdefault("_known", {})\n'
        "        if session_id not in known:\n"
        '            query = "select value from session where id = ?"\n'
        "            known[session_id] = self._all(query, session_id)\n"
        "        rows = known[session_id]\n",
    ),
    Mutant(
        name="deaths-not-written",
        says="At which events processes died is not written down.",
        law="§7: an event at which it died three times is a dead letter, unstepped",
        file=BATCH,
        old="        self._deaths.append((offset, event_id, deaths))\n",
        new="",
    ),
    Mutant(
        name="set-aside-nowhere",
        says="A dead letter is not written.",
        law="§4 law 7, §7: what is not stepped is a dead letter, never lost",
        file=BATCH,
        old="            (PUT_DEAD_LETTER, self._dead_letters),\n",
        new="",
    ),
    Mutant(
        name="undelivered-newest-first",
        says="A restart finds the replies that are on their way in the wrong order.",
        law="§10: in order within a session",
        file=LOG,
        old='            "order by place"\n',
        new='            "order by place desc"\n',
    ),
    Mutant(
        name="lines-numbered-alike",
        says="A line has the number of the line before it.",
        law="§10: a client that reconnects names the last line it has: each has its number",
        file=BATCH,
        old="            n = known.line_count + 1\n",
        new="            n = max(known.line_count, 1)\n",
    ),
)
