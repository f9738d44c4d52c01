"""Defects in what a callback's wishes become: the turn, the scratch and the transcript."""

from tests.mutants.patch import Mutant

TURN, SCRATCH = "engine/turn.py", "engine/scratch.py"

MUTANTS = (
    # ---- ids -----------------------------------------------------------------------------------
    Mutant(
        name="effect-id-from-seq",
        says="An effect's id is made from the step's number instead of its cause.",
        law="§4 ids are derived: an effect's id from its cause event's id and an index",
        file=SCRATCH,
        old="effect_id(self.session.id, self.origin, index=self._index)",
        new="effect_id(self.session.id, str(self.seq), index=self._index)",
    ),
    Mutant(
        name="two-effects-one-id",
        says="All effects of a microstep have the same id.",
        law="§4 ids are derived: so a repetition is recognisable, and nothing else is one",
        file=SCRATCH,
        old="        identity = self._next_id()\n        self._index += 1\n",
        new="        identity = self._next_id()\n",
    ),
    # ---- scopes --------------------------------------------------------------------------------
    Mutant(
        name="cancel-leaves-the-pending",
        says="Leaving a state cancels its requests, but they stay pending.",
        law="§4 law 5: each request resolves once; cancelling removes it from pending",
        file=SCRATCH,
        old="self.pending = tuple(p for p in self.pending if p.scope not in scopes)",
        new='self.pending = tuple(p for p in self.pending if p.kind != "timer" or '
        "p.scope not in scopes)",
    ),
    Mutant(
        name="timer-outlives-its-state",
        says="Leaving a state leaves its timer running.",
        law="§5 scopes: leaving a state cancels its timers; no impossible cell is hit",
        file=SCRATCH,
        old="self.pending = tuple(p for p in self.pending if p.scope not in scopes)",
        new='self.pending = tuple(p for p in self.pending if p.kind == "timer" or '
        "p.scope not in scopes)",
    ),
    Mutant(
        name="cancel-not-ordered",
        says="A cancelled request is no longer awaited, but nobody is told to stop it.",
        law="§4 each request resolves once: cancelling orders a Cancel",
        file=SCRATCH,
        old="            self.order(Cancel(request=pending.effect_id))\n            return",
        new="            return",
    ),
    Mutant(
        name="cancelled-request-leaves-the-step",
        says="A request that is made and cancelled in one step is performed all the same.",
        law="§4: emitted and cancelled in one step, it never leaves the step",
        file=SCRATCH,
        old="            if effect is not made_here\n            and not (isinstance(",
        new="            if not (isinstance(",
    ),
    # ---- open replies --------------------------------------------------------------------------
    Mutant(
        name="left-reply-never-closed",
        says="Leaving a state forgets its open replies instead of closing them.",
        law="§5 scopes: leaving a state closes its replies; each reply closes once",
        file=SCRATCH,
        old="            if reply.scope in scopes:\n",
        new="            if reply.scope in ():\n",
    ),
    Mutant(
        name="stopped-reply-closed-twice",
        says="A stopped reply stays open, and is closed again when its state is left.",
        law="§4 dispositions, §10: only the session closes a reply, and once",
        file=TURN,
        old="        self.open_replies = ()\n        # What a request",
        new="        # What a request",
    ),
    Mutant(
        name="answered-reply-stays-open",
        says="An answer is sent as a message, and the reply that streamed it is never closed.",
        law="§5: say closes the request's streaming reply with its text",
        file=TURN,
        old="        if reply is not None and self._close(reply):\n",
        new="        if reply is not None and not self._close(reply):\n",
    ),
    # ---- dispositions --------------------------------------------------------------------------
    Mutant(
        name="merged-message-forgotten",
        says="Of several messages answered together, the first has no disposition.",
        law="§4 law 7: every message has exactly one disposition",
        file=SCRATCH,
        old="for waiting in ended[:-1]:",
        new="for waiting in ended[1:-1]:",
    ),
    Mutant(
        name="only-the-last-is-forwarded",
        says="Of several messages handed over, a person gets the last one only.",
        law="§4 dispositions: forwarded closes those that were handed over",
        file=TURN,
        old="for waiting in self.unanswered:\n            text",
        new="for waiting in self.unanswered[-1:]:\n            text",
    ),
    Mutant(
        name="answer-closes-later-messages",
        says="An answer also closes messages that came after its question was asked.",
        law="§4 dispositions: say closes what it answers, not a message that came later",
        file=TURN,
        old='until = None if request is None or answers == "all" else request.turn',
        new="until = None",
    ),
    Mutant(
        name="disposed-twice",
        says="Messages that were answered go on waiting, and are closed again.",
        law="§4 law 7: every message has exactly one disposition",
        file=SCRATCH,
        old="        self.unanswered = self.unanswered[len(ended) :]",
        new="        self.unanswered = self.unanswered[len(ended) - 1 :]",
    ),
    # ---- dialogs and transcript ----------------------------------------------------------------
    Mutant(
        name="epoch-stays",
        says="A new dialog has the old one's number.",
        law="§4 dialogs: entering initial ends the dialog, epoch + 1",
        file=SCRATCH,
        old="        self.epoch += 1\n",
        new="",
    ),
    Mutant(
        name="data-survives-the-dialog",
        says="A new dialog begins with the data of the last one.",
        law="§4 dialogs: data and transcript reset",
        file=SCRATCH,
        old="        self.put_data(self.flow.new_data())\n        # Turns count",
        new="        # Turns count",
    ),
    Mutant(
        name="transcript-survives-the-dialog",
        says="A new dialog begins with the transcript of the last one.",
        law="§4 dialogs: data and transcript reset",
        file=SCRATCH,
        old="        self.transcript = ()\n",
        new="",
    ),
    Mutant(
        name="transcript-keeps-too-much",
        says="A transcript has 21 turns.",
        law="§4 dialogs: transcript of the last 20 turns",
        file="engine/transcript.py",
        old="kept = turns[-TRANSCRIPT_TURNS_MAX:]",
        new="kept = turns[-TRANSCRIPT_TURNS_MAX - 1 :]",
    ),
    Mutant(
        name="prompt-of-other-turns",
        says="A model request names one turn more than its digest covers.",
        law="§4: CallModel names its turns by range and digest",
        file=TURN,
        old="            last=turns[-1].n if turns else 0,",
        new="            last=turns[-1].n + 1 if turns else 0,",
    ),
)
