"""Sixteen defects by somebody who knew the design and not the laws of the kit.

None was tried before all were written, and each is of a kind that is nowhere else in this list.
"""

from tests.mutants.patch import Mutant

ADMISSION, TURN = "engine/admission.py", "engine/turn.py"
EGRESS, INGRESS, RUNNERS = "streams/egress.py", "streams/ingress.py", "streams/runners.py"
ASSISTANT = "statemachines/assistant.py"

MUTANTS = (
    # ---- engine --------------------------------------------------------------------------------
    Mutant(
        name="late-stop-stops-the-next-answer",
        says="A stop of a reply that has ended stops whatever reply is open now.",
        law="§4: a late event changes nothing; a stop of a reply that has ended is late",
        file=ADMISSION,
        old="    return all(reply.reply_id != stop.reply_id for reply in turn.open_replies)\n",
        new="    return not turn.open_replies\n",
    ),
    Mutant(
        name="redrive-is-another-message",
        says="A message and its redrives are known by different ids: each of them is taken.",
        law="§4 law 7: every message has exactly one disposition; law 3: a repetition is one",
        file=ADMISSION,
        old="    identity = message_id(event)\n",
        new="    identity = event.id\n",
    ),
    Mutant(
        name="match-between-two-looks-missed",
        says="A fallback pattern whose match began in what was looked at before is not found.",
        law="§5 fallback strategies: a match ends the call, the trigger is `escalated`",
        file="engine/fallback.py",
        old="begin = len(self._clear) - self._held if text.startswith(self._clear) else 0",
        new="begin = len(self._clear) if text.startswith(self._clear) else 0",
    ),
    Mutant(
        name="operator-withdraws-the-operator",
        says="Each word of an operator takes back their earlier ones that are still on their way.",
        law="§4: nothing cancels an order but a withdraw, or a hand-over, which this is not",
        file="engine/step.py",
        old="        if handed_over and flow.hands_over.isdisjoint(flow.path(moved.source)):\n",
        new="        if handed_over:\n",
    ),
    Mutant(
        name="second-say-in-the-same-reply",
        says="The second say to an outcome goes out under the id of the reply that is closed.",
        law="§5: a second say is a new message; §4: nothing else has its id; §10: it arrives",
        file=TURN,
        old="            self.answered = replace(request, reply_id=None)  # a second say is a new "
        "message\n",
        new="",
    ),
    # ---- hops ----------------------------------------------------------------------------------
    Mutant(
        name="operator-may-not-repeat-themselves",
        says="The same words of an operator a second time count as a redelivery of the first.",
        law="§1: nothing acknowledged is lost; §4: only a repetition has the same id",
        file=INGRESS,
        old='_asked(session_id, "operator", request_id, body=body',
        new='_asked(session_id, "operator", text, body=body',
    ),
    Mutant(
        name="retry-after-not-heeded",
        says="A platform that says when to come again is called before that time.",
        law="§11: Unavailable is retried, with retry_after_ms (else its tries are used up)",
        file=EGRESS,
        old="pause_ms = max(self._pause_ms(delivery.attempt), retry_after_ms)",
        new="pause_ms = self._pause_ms(delivery.attempt)",
    ),
    Mutant(
        name="uncalled-mark-keeps-its-place",
        says="A mark whose call was not made keeps its place in the limiter: a stall in which as "
        "many as are allowed were marked leaves the account mute for ever.",
        law="law 8, §10: at rest no reply is without a receipt; a stale mark is marked anew",
        file=EGRESS,
        old="        self._release(queued)\n",
        new="",
    ),
    Mutant(
        name="rolled-back-close-is-for-good",
        says="A reply whose closing was rolled back shows no frames any more, and a stop then "
        "leaves nothing of what was shown.",
        law="§10: only the session closes a reply; §7: a batch is durable whole or not at all",
        file=EGRESS,
        old="        self.open_replies.roll_back()\n",
        new="",
    ),
    Mutant(
        name="known-request-started-again",
        says="A request that is handed over again while it is worked on is worked on twice.",
        law="§9: a request is performed once while its runner lives; its frames go on growing",
        file=RUNNERS,
        old="        if request.effect_id not in self._known:\n"
        "            self._known.add(request.effect_id)\n"
        "            self._waiting.append(request)\n",
        new="        self._known.add(request.effect_id)\n        self._waiting.append(request)\n",
    ),
    # ---- flows and their machinery -------------------------------------------------------------
    Mutant(
        name="failing-recogniser-fails-the-answer",
        says="Where the recogniser fails, the person gets an apology instead of an answer.",
        law="§5: request_failed in bot.routing leads to bot.answering, and the model is asked",
        file=ASSISTANT,
        old="        yield dict(\n"
        '            trigger="request_failed", source="bot.routing", dest="bot.answering", '
        'before="ask"\n'
        "        )\n",
        new="",
    ),
    Mutant(
        name="steering-notes-the-last-only",
        says="Of several messages that come while an answer is made, only the last is asked next.",
        law="§5: steer = noted and asked next (a message that is answered was asked)",
        file=ASSISTANT,
        old="turn.set(noted=(*turn.data.noted, turn.text), quoted=quoted(turn))",
        new="turn.set(noted=(turn.text,), quoted=quoted(turn))",
    ),
    Mutant(
        name="data-lost-at-a-switch",
        says="A session that goes over to a new flow keeps its state and loses its data.",
        law="§4 a flow ref: migrate(state, data): a state goes on with what it knows",
        file="statemachines/flow.py",
        old="    return state, data.carried_over(written, flow.Data)\n",
        new="    return state, flow.new_data()\n",
    ),
    # ---- the embedded host and its log ---------------------------------------------------------
    Mutant(
        name="clock-set-back-at-a-restart",
        says="After a restart log time is the machine's, even where that is behind the log.",
        law="§4 time: a host's clock is the last at_ms plus monotonic time: none stalls (law 7)",
        file="streams/embedded/clock.py",
        old="self._start_ms = max(self._machine.now_ms(), log_ms)",
        new="self._start_ms = self._machine.now_ms()",
    ),
    Mutant(
        name="freed-place-goes-to-nobody",
        says="A request that waits for a free runner does not start when one becomes free.",
        law="§9: requests wait in order and are performed (else each ends by its deadline)",
        file="streams/performers.py",
        old="        if hop.waiting:\n"
        "            self._begin(Started(*hop.start(self._now_ms())))\n",
        new="",
    ),
    Mutant(
        name="asked-back-forgotten-in-the-file",
        says="A reply that was asked back while it was being sent is sent again after a restart.",
        law="§10: nothing stale after a person took over; §7: a restart finds all that was",
        file="adapters/logs/sqlite_rows.py",
        old="one.attempt, one.error, one.withdrawn_ms)\n    return _packed",
        new="one.attempt, one.error)\n    return _packed",
    ),
)
