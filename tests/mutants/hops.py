"""Defects in the hops between the logs: ingress, sessions, runners and the clock."""

from tests.mutants.patch import Mutant

INGRESS, SESSIONS = "streams/ingress.py", "streams/sessions.py"
RUNNERS, CLOCK = "streams/runners.py", "streams/clock.py"

MUTANTS = (
    # ---- ingress -------------------------------------------------------------------------------
    Mutant(
        name="message-id-from-the-clock",
        says="A message's event id depends on when it was taken in.",
        law="§4 ids are derived: a message's from account and platform message id (law 3)",
        file=INGRESS,
        old="self._account, message_id=incoming.message_id)",
        new='self._account, message_id=f"{incoming.message_id}@{now_ms}")',
    ),
    Mutant(
        name="sent-time-forgotten",
        says="Ingress does not record when the platform had a message.",
        law="§4 dedupe: a message sent longer ago than 24 h is expired, never answered",
        file=INGRESS,
        old="sent_ms=None if sent_ms is None else min(sent_ms, now_ms),",
        new="sent_ms=None,",
    ),
    # ---- sessions ------------------------------------------------------------------------------
    Mutant(
        name="stepped-from-the-stored-session",
        says="A session's second event in a batch is stepped from the session before the first.",
        law="§4 law 1: folding a session's history gives its stored bytes",
        file=SESSIONS,
        old="        if session_id in batch.stepped:\n",
        new="        if session_id in batch.dispositions:\n",
    ),
    Mutant(
        name="cancelled-in-its-batch-and-started",
        says="A request that is cancelled in the batch that made it is started all the same.",
        law="§4 each request resolves once: what is cancelled is not performed",
        file=SESSIONS,
        old="batch.requests.pop(effect_id, None) is None:",
        new="batch.requests.get(effect_id) is None:",
    ),
    Mutant(
        name="dead-letter-lost",
        says="A record that cannot be stepped is dropped instead of set aside.",
        law="§4 law 7, §7: what is not stepped is a dead letter, never lost",
        file=SESSIONS,
        old="                batch.dead.append(self._letter(record, error, now_ms))\n",
        new="",
    ),
    Mutant(
        name="set-aside-without-a-word",
        says="A person whose message is set aside hears nothing.",
        law="§7: a dead letter's message is answered by an apology (nothing is lost silently)",
        file=SESSIONS,
        old="                    self._excuse(batch, event)\n",
        new="                    pass\n",
    ),
    Mutant(
        name="one-activation-id-for-all",
        says="The activation that a session steps has an id made from the session alone.",
        law="§4 a flow ref: FlowActivated(session) has an id derived from both",
        file=SESSIONS,
        old='id=derive(session.id, "activation", control.id),',
        new='id=derive(session.id, "activation"),',
    ),
    Mutant(
        name="only-the-first-order-leaves",
        says="Of a step's orders only the first is carried out.",
        law="§1, §10: each order of a step record is carried out",
        file=SESSIONS,
        old="        batch.orders += ordered(done)\n",
        new="        batch.orders += ordered(done)[:1]\n",
    ),
    # ---- runners -------------------------------------------------------------------------------
    Mutant(
        name="expired-before-its-time",
        says="Requests count as expired a minute too early.",
        law="§9: runners drop those past expires_ms, and only those",
        file=RUNNERS,
        old="request.expires_ms <= now_ms:",
        new="request.expires_ms - 60_000 <= now_ms:",
    ),
    Mutant(
        name="long-answer-not-cut",
        says="An answer that is too long for an event is appended as it is.",
        law="§9: runners cut what is too long for an event and mark it (§4: event 64 KiB)",
        file=RUNNERS,
        old="text, cut = _cut(cleaned(outcome.text))",
        new="text, cut = cleaned(outcome.text), False",
    ),
    Mutant(
        name="cut-not-marked",
        says="An answer is cut, and nothing says so.",
        law="§9: runners cut what is too long for an event and mark it `cut`",
        file=RUNNERS,
        old="cut=cut or outcome.cut,",
        new="cut=outcome.cut,",
    ),
    Mutant(
        name="empty-answer-is-said",
        says="A model that says nothing has answered with an empty text.",
        law="§9: an empty answer is ModelFailed(empty)",
        file=RUNNERS,
        old="    if not text:\n        return _FAILED",
        new="    if text is None:\n        return _FAILED",
    ),
    Mutant(
        name="match-not-reported",
        says="A whole answer that matches a fallback strategy goes out as an answer.",
        law="§5 fallback strategies: a match ends the call with fallback=…, nothing of it shown",
        file=RUNNERS,
        old="cut=cut or outcome.cut, fallback=action)",
        new="cut=cut or outcome.cut, fallback=None)",
    ),
    Mutant(
        name="gate-holds-nothing-back",
        says="Frames show text that may become the beginning of a match.",
        law="§5 fallback strategies: a match ends the call before anything of it is shown",
        file=RUNNERS,
        old="            text = call.gate.shown(text)\n",
        new="",
    ),
    Mutant(
        name="every-attempt-is-the-first",
        says="After a restart frames have the attempt number of those before it.",
        law="§9: the greatest (attempt, n) wins, a second attempt replaces the first",
        file=RUNNERS,
        old="            attempt=call.attempt,\n",
        new="            attempt=1,\n",
    ),
    Mutant(
        name="a-broken-runner-keeps-its-place",
        says="A runner that raises ends nothing: its request waits for its deadline.",
        law="§9: exactly one outcome, a failure included",
        file=RUNNERS,
        old='        failed = failure(call.request, "error", detail=type(error).__name__)\n'
        "        return self._ended(effect_id, failed, now_ms)",
        new="        return None",
    ),
    # ---- clock ---------------------------------------------------------------------------------
    Mutant(
        name="moved-deadline-lost",
        says="A deadline that moved to later is forgotten when its old place is reached.",
        law="§4 law 7: every message has its disposition within B",
        file=CLOCK,
        old="                if due_ms is not None:\n",
        new="                if due_ms is not None and due_ms < at_ms:\n",
    ),
    Mutant(
        name="only-one-is-woken",
        says="Of several sessions that are due at one time, only one is woken.",
        law="§4 law 7: every message has its disposition within B",
        file=CLOCK,
        old="            events.append(_woken(session_id, due_ms, now_ms))\n",
        new="            events = [_woken(session_id, due_ms, now_ms)]\n",
    ),
)
