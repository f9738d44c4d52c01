"""Defects of the embedded host around the hops: its pump, channels, runners, clock and operators.

Written from the design before any of them was tried.
"""

from tests.mutants.patch import Mutant

HOST, CALLS = "streams/embedded/host.py", "streams/calls.py"
PIPELINE, CLOCK = "streams/embedded/pipeline.py", "streams/clock.py"

MUTANTS = (
    Mutant(
        name="acknowledged-before-the-commit",
        says="Who waits for a batch is told that it is in before it is committed.",
        law="§1: acknowledged only after the append; nothing acknowledged is lost",
        file=HOST,
        old="                await self._commit(decided)\n",
        new="                for _, waiting in taken:\n"
        "                    for future in waiting:\n"
        "                        if not future.done():\n"
        "                            future.set_result(None)\n"
        "                await self._commit(decided)\n",
    ),
    Mutant(
        name="outcomes-lost-with-a-failed-commit",
        says="What runners were done with is forgotten when its batch fails.",
        law="§9: exactly one outcome for each request; no work is done twice for a full disk",
        file=HOST,
        old="kept = [item for item in taken if not item[1]]",
        new="kept = [item for item in taken[:0] if not item[1]]",
    ),
    Mutant(
        name="receipts-lost-with-a-failed-commit",
        says="What calls came to is forgotten when its batch fails.",
        law="§4 law 8: unknown, or sent again, only after a crash between mark and receipt",
        file=HOST,
        old="        self._called = called + self._called\n",
        new="",
    ),
    Mutant(
        name="failed-message-never-taken-again",
        says="A message whose batch failed counts as on its way when it is handed over again.",
        law="§1: a platform hands over again what was not acknowledged (heard)",
        file=HOST,
        old="                self._recent.pop(item.append.event_id, None)\n",
        new="                pass\n",
    ),
    Mutant(
        name="cancelled-work-goes-on",
        says="No runner is told that its request was cancelled.",
        law="§4, §9: a cancel order is carried out: who works on it stops",
        file=HOST,
        old="        for effect_id in (*batch.cancels, *batch.resolved):\n",
        new="        for effect_id in batch.resolved:\n",
    ),
    Mutant(
        name="restart-starts-no-runner",
        says="What a restart finds pending is given to no runner.",
        law="§9: exactly one outcome for each request, whatever crashes",
        file=HOST,
        old="        self._performers.put(found.requests, now_ms=self._clock.now_ms())\n",
        new="",
    ),
    Mutant(
        name="restart-forgets-who-was-handed-over",
        says="After a restart operators may not speak to who is in their hands.",
        law="§7: recovery finds all that was; an operator's word is taken",
        file=HOST,
        old="        for session in found.handed_over:\n",
        new="        for session in found.handed_over[:0]:\n",
    ),
    Mutant(
        name="calls-under-way-not-known",
        says="The host does not know which calls have begun and not ended.",
        law="§4 law 8: unknown, or sent again, only after a crash between mark and receipt",
        file=CALLS,
        old="        self._in_hand.update(delivery.reply_id for delivery in marked)\n",
        new="",
    ),
    Mutant(
        name="called-without-asking",
        says="A channel is called for a mark, whatever egress says of it now.",
        law="§10: never more than max_requests in any sliding period; called within 2 s",
        file=CALLS,
        old="        if not pump.may_call(delivery.reply_id):\n            return None\n",
        new="",
    ),
    Mutant(
        name="a-runner-that-raises-ends-nothing",
        says="A runner that raises in the host: its request waits for its deadline.",
        law="§9: exactly one outcome, a failure included",
        file="streams/performers.py",
        old="            append = hop.crashed(effect_id, error, now_ms=self._now_ms())\n"
        "        self._tasks.pop(effect_id, None)",
        new="            append = None\n        self._tasks.pop(effect_id, None)",
    ),
    Mutant(
        name="receipt-without-its-line",
        says="A reply counts as sent, and its line is not in the person's outbox.",
        law="§10: sent means that the line is durable in the person's outbox",
        file=PIPELINE,
        old="            decided.lines.append(line_of(delivery, at_ms=decided.at_ms))\n",
        new="            pass\n",
    ),
    Mutant(
        name="redriven-letter-not-marked",
        says="A dead letter that was taken again does not say so.",
        law="§11: a letter is marked as taken again together with the event that takes it",
        file=PIPELINE,
        old="tx.put_dead_letters([*batch.dead, *decided.letters])",
        new="tx.put_dead_letters(batch.dead)",
    ),
    Mutant(
        name="each-death-is-the-first",
        says="However often a process died at an event, one death is written down.",
        law="§7: an event at which it died three times is a dead letter, unstepped",
        file=PIPELINE,
        old="tx.put_deaths(decided.first_offset, event_id, deaths=deaths)",
        new="tx.put_deaths(decided.first_offset, event_id, deaths=1)",
    ),
    Mutant(
        name="earlier-deadline-not-noticed",
        says="A deadline that moved to earlier is told of at its old place only.",
        law="§7: the host appends ClockReached when its clock passes the head of the heap",
        file=CLOCK,
        old="        if earliest is None or due_ms < earliest:\n",
        new="        if earliest is None:\n",
    ),
)
