"""Defects in what is durable when: the embedded pipeline and the log in memory."""

from tests.mutants.patch import Mutant

PIPELINE, MEMORY = "streams/embedded/pipeline.py", "adapters/logs/memory.py"

MUTANTS = (
    Mutant(
        name="ack-before-append",
        says="A commit that failed counts as done: people are told that their message is in.",
        law="§1: acknowledged only after the append; nothing acknowledged is lost",
        file=PIPELINE,
        old="        with self.store.transaction(self._owner) as tx:\n",
        new="        from contextlib import suppress\n\n"
        "        with suppress(Unavailable), self.store.transaction(self._owner) as tx:\n",
    ),
    Mutant(
        name="mark-after-send",
        says="The channel is called for a reply whose mark is not durable.",
        law="§10: a send is marked `sending` before the call",
        file=PIPELINE,
        old="        for delivery in decided.marked:\n"
        "            decided.deliveries[delivery.reply_id] = delivery\n",
        new="",
    ),
    Mutant(
        name="watermark-outside-the-transaction",
        says="A batch's watermark becomes durable with the next batch only.",
        law="§7, §8: events, sessions and watermark in one transaction: a step is exactly once",
        file=PIPELINE,
        old="                tx.put_watermark(batch.watermark)\n",
        new="                tx.put_watermark(decided.first_offset - 1)\n",
    ),
    Mutant(
        name="receipt-not-durable",
        says="What the platform took is not written down.",
        law="§4 law 8, §10: called, then receipted",
        file=PIPELINE,
        old="        decided.deliveries[delivery.reply_id] = delivery\n"
        "        if event is not None:\n",
        new='        if delivery.state != "sent":\n'
        "            decided.deliveries[delivery.reply_id] = delivery\n"
        "        if event is not None:\n",
    ),
    Mutant(
        name="failed-reply-not-told",
        says="A reply that the platform refuses for good: the flow is not told.",
        law="§1: undelivered replies come back as events",
        file=PIPELINE,
        old="            decided.appends.append(event)\n",
        new="            pass\n",
    ),
    Mutant(
        name="recovery-forgets-replies",
        says="A restart begins without the replies that were on their way.",
        law="law 8, §7: nothing acknowledged is lost; at rest no reply is without a receipt",
        file=PIPELINE,
        old="undelivered = self.store.undelivered()",
        new="undelivered = self.store.undelivered()[:0]",
    ),
    Mutant(
        name="recovery-forgets-deadlines",
        says="After a restart nothing wakes the sessions that wait.",
        law="§4 law 7: every message has its disposition within B",
        file=PIPELINE,
        old="                self.deadlines.put(row.session_id, first_due(glance.pending))\n",
        new="",
    ),
    Mutant(
        name="recovery-forgets-requests",
        says="After a restart pending requests are performed by nobody: they end by deadline.",
        law="§9: exactly one outcome for each request, whatever crashes",
        file=PIPELINE,
        old="return Recovered(requests=requests,",
        new="return Recovered(requests=requests[:0],",
    ),
    Mutant(
        name="recovery-forgets-whose-call-goes-on",
        says="After a failed commit a call that is still under way counts as unknown, or is made "
        "again.",
        law="§4 law 8: unknown only after a crash between mark and receipt",
        file=PIPELINE,
        old="now_ms=now_ms, in_hand=in_hand)\n        self._activate_last()",
        new="now_ms=now_ms)\n        self._activate_last()",
    ),
    Mutant(
        name="steps-not-kept",
        says="Of a batch's step records only the last is written.",
        law="§4: the step record is the place of record; one for each event",
        file=PIPELINE,
        old="tx.put_steps(batch.steps, at_ms=at_ms)",
        new="tx.put_steps(batch.steps[-1:], at_ms=at_ms)",
    ),
    # ---- the log in memory ---------------------------------------------------------------------
    Mutant(
        name="old-owner-not-fenced",
        says="An owner whose partition has a newer one may still write.",
        law="§6, §8: a newer owner fences the older one",
        file=MEMORY,
        old=".token != owner.token:",
        new=".token < owner.token:",
    ),
    Mutant(
        name="rollback-keeps-the-deliveries",
        says="A batch that fails leaves its deliveries in the log.",
        law="§6, §7: one transaction, durable whole or not at all",
        file=MEMORY,
        old="        self.todo.append(\n"
        "            partial(self._log.delivery_of.update, [(d.reply_id, d) for d in deliveries])\n"
        "        )\n",
        new="        self._log.delivery_of.update([(d.reply_id, d) for d in deliveries])\n",
    ),
    Mutant(
        name="marks-forgotten-at-a-restart",
        says="A restart does not find the replies that were marked but have no receipt.",
        law="§4 law 8, §10: mark without receipt is resent or unknown",
        file=MEMORY,
        old='UNDELIVERED = ("queued", "sending")',
        new='UNDELIVERED = ("queued",)',
    ),
)
