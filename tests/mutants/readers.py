"""Defects that other people thought of when they read the kit: a second reader's, and no author's.

They are of a kind that the first list had none of: a word doubled, misdirected or dropped on its
way, another text in a prompt or a frame, something set aside that killed nobody.
"""

from tests.mutants.patch import Mutant

PIPELINE, RUNNERS = "streams/embedded/pipeline.py", "streams/runners.py"
TURN, TRANSCRIPT = "engine/turn.py", "engine/transcript.py"

MUTANTS = (
    Mutant(
        name="deaths-of-any-event",
        says="A death counts against an event together with the deaths at all others.",
        law="§7: only deaths with that id standing count",
        file=PIPELINE,
        old="deaths = self.deadly.get(event_id, 0) + 1",
        new="deaths = sum(self.deadly.values()) + 1",
    ),
    Mutant(
        name="set-aside-after-any-deaths",
        says="Once a process died three times of whatever, each message is set aside.",
        law="§7: an event at which it died three times is a dead letter, no other",
        file=PIPELINE,
        old="n >= DEATHS_MAX)\n        batch",
        new="n >= DEATHS_MAX)\n"
        "        if sum(self.deadly.values()) >= DEATHS_MAX:\n"
        "            said = [r.value for r in records if b'MessageReceived' in r.value]\n"
        "            deadly |= {codec.decode_event(value).id for value in said}\n"
        "        batch",
    ),
    Mutant(
        name="words-of-operators-lost",
        says="What an operator says is acknowledged, and appended nowhere.",
        law="§1: nothing acknowledged is lost, whoever it is from",
        file=PIPELINE,
        old="        decided.appends = [item.append for item in taken]\n",
        new="        decided.appends = [\n"
        "            one.append for one in taken if b'OperatorSaid' not in one.append.value\n"
        "        ]\n",
    ),
    Mutant(
        name="stops-and-verdicts-lost",
        says="A stop or a verdict is acknowledged, and appended nowhere.",
        law="§1: nothing acknowledged is lost, whoever it is from",
        file=PIPELINE,
        old="        decided.appends = [item.append for item in taken]\n",
        new="        lost = (b'StopRequested', b'FeedbackGiven')\n"
        "        decided.appends = [\n"
        "            one.append for one in taken if not any(x in one.append.value for x in lost)\n"
        "        ]\n",
    ),
    Mutant(
        name="streamed-reply-said-twice",
        says="A say that ends a streaming reply is a message of its own, too.",
        law="§5: a say closes the request's streaming reply; each is said once",
        file=TURN,
        old='how="answered", text=text))\n            return\n',
        new='how="answered", text=text))\n'
        "            self.order(\n"
        "                SendMessage(reply_id=self._next_reply(), text=text, author=author)\n"
        "            )\n"
        "            return\n",
    ),
    Mutant(
        name="message-said-twice",
        says="A say that is a message of its own is ordered twice.",
        law="§5, §10: what a step says is said once",
        file=TURN,
        old="        self.order(SendMessage(reply_id=reply or self._next_reply(), text=text, "
        "author=author))\n",
        new="        for reply in (reply or self._next_reply(), self._next_reply()):\n"
        "            self.order(SendMessage(reply_id=reply, text=text, author=author))\n",
    ),
    Mutant(
        name="prompt-without-history",
        says="A model is never told what was said before.",
        law="§4: CallModel names its turns; the form for the runner is expanded from them",
        file=TRANSCRIPT,
        old="        if call.first <= turn.n <= call.last:\n",
        new="        if call.first < 0:\n",
    ),
    Mutant(
        name="prompt-without-the-question",
        says="A model is told what was said before, and not what is asked now.",
        law="§4: the form that goes to a runner is expanded from the request",
        file=TRANSCRIPT,
        old='    lines.append(PromptLine(role="user", text=call.prompt))\n',
        new="",
    ),
    Mutant(
        name="all-replies-to-one-person",
        says="Egress sends each reply to the first user's conversation.",
        law="§4, §10: a reply goes to its session's address",
        file="streams/egress.py",
        old="        address=address,\n",
        new='        address=replace(address, conversation="c0", sender="u0"),\n',
    ),
    Mutant(
        name="address-of-the-first-session",
        says="Orders carry the address of the session that was stepped first.",
        law="§4, §10: a reply goes to its session's address",
        file="streams/sessions.py",
        old="    address = done.session.address\n",
        new='    address = globals().setdefault("_FIRST", done.session.address)\n',
    ),
    Mutant(
        name="frame-with-other-words",
        says="A frame shows words that no model said.",
        law="§9: a frame is the text so far",
        file=RUNNERS,
        old="            text=shown,\n",
        new='            text="someone else: " + shown,\n',
    ),
    Mutant(
        name="last-letter-lost",
        says="An outcome lacks the last letter of what its runner said.",
        law="§9: the final text comes back as it was said, or cut and marked",
        file=RUNNERS,
        old="    if text == outcome.text and call.gate is None:\n        return outcome\n",
        new="    text = text[: max(1, len(text) - 1)]\n",
    ),
)
