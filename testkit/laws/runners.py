"""Laws of runners: given what the session asked, shown and answered as they said it.

Both ends are looked at: what left the session and what a runner was given, what a runner said and
what came of it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from engine.effects import (
    CallModel,
    Effect,
    FindIntent,
    IntentRequest,
    ModelRequest,
    RunnerRequest,
    RunSkill,
    SkillRequest,
)
from engine.events import ModelReplied, SkillDone
from engine.ids import reply_id
from engine.limits import REPLY_TEXT_BYTES_MAX
from engine.session import Session
from testkit.laws.reading import Dialog, Found, Reading, Stepped
from testkit.worlds import Said, Shown

REPLACED = "\N{REPLACEMENT CHARACTER}"


def asked_as_ordered(dialog: Dialog) -> Iterator[Found]:
    """A runner is given what a step asked for, the named turns in the prompt (design 4, 9).

    The turns are those of the session after that step, or later while the request is pending:
    after a restart it is expanded from what is durable then.
    """
    began = dialog.reading.began.get(dialog.id)
    if not began:
        return
    emitted = {
        effect.id: (n, effect) for n, one in enumerate(dialog.steps) for effect in one.requests
    }
    for one in began:
        request = one.request
        n, effect = emitted.get(request.effect_id, (0, None))
        if effect is None:
            if not dialog.lost_at:
                yield Found(f"somebody works on {request.effect_id}, nobody asked", one.at_ms)
        elif not _is_asked(request, effect):
            yield Found(f"{request.effect_id} is given to a runner as another request", one.at_ms)
        elif isinstance(request, ModelRequest) and not _has_its_prompt(request, dialog.steps, n):
            yield Found(f"{request.effect_id} is given to a model as another prompt", one.at_ms)


def given_once(dialog: Dialog) -> Iterator[Found]:
    """A request is worked on once, and anew only by another owner of its partition (design 7, 9).

    Who has lost the partition may begin what waited there.
    """
    began = dialog.reading.began.get(dialog.id, ())
    if len({one.request.effect_id for one in began}) == len(began):
        return
    owners = dialog.reading.began_by[dialog.id]
    last: dict[str, int] = {}
    for one, owner in zip(began, owners, strict=True):
        if one.fenced:
            continue
        effect_id = one.request.effect_id
        if last.get(effect_id) == owner:
            yield Found(f"{effect_id} was given to runners twice by one owner", one.at_ms)
        last[effect_id] = owner


def _is_asked(request: RunnerRequest, effect: Effect) -> bool:
    """Whether a runner's request is a recorded one, its prompt aside."""
    body = effect.body
    if (request.session_id, request.expires_ms) != (effect.session_id, effect.expires_ms or 0):
        return False
    match request:
        case ModelRequest() if isinstance(body, CallModel):
            return (
                request.reply_id == body.reply_id
                and request.max_tokens == body.max_tokens
                and request.stream == body.stream
                and request.fallbacks == body.fallbacks
                and request.request_digest == body.digest
            )
        case SkillRequest() if isinstance(body, RunSkill):
            return (
                request.skill == body.skill
                and request.text == body.text
                and request.locale == body.locale
                and request.fallbacks == body.fallbacks
            )
        case IntentRequest():
            return isinstance(body, FindIntent) and request.text == body.text
        case _:
            return False


def _has_its_prompt(request: ModelRequest, steps: Sequence[Stepped], emitted: int) -> bool:
    """Whether it is given the prompt of the `emitted`-th step, or of a later one."""
    effects = (effect for effect in steps[emitted].requests if effect.id == request.effect_id)
    call = next(effects).body
    assert isinstance(call, CallModel)
    given = [(line.role, line.text) for line in request.lines]
    tried: object = None
    for n in range(emitted, len(steps)):
        one = steps[n]
        if n > emitted and request.effect_id not in one.has.requests:
            return False
        if one.after.transcript is not tried and given == _prompt(one.after, call):
            return True
        tried = one.after.transcript
    return False


def _prompt(session: Session, call: CallModel) -> list[tuple[str, str]]:
    """What the configuration says first, the turns that are named, what is asked now."""
    lines = [("system", call.system)]
    for turn in session.transcript:
        if call.first <= turn.n <= call.last:
            lines += [("user", turn.user), ("assistant", turn.bot)]
    return [line for line in lines if line[1]] + [("user", call.prompt)]


def outcomes_as_said(dialog: Dialog) -> Iterator[Found]:
    """An answer in the log is what a runner said, whole, or cut at its limit and marked (design 9).

    One that hands over is what had been said until then.
    """
    said = dialog.reading.said
    for _, event in dialog.partition.of(dialog.id):
        body = event.body
        if not isinstance(body, ModelReplied | SkillDone):
            continue
        if not any(_is_said(body, one) for one in said.get(event.effect or "", ())):
            yield Found(f"the answer to {event.effect} is not what was said", event.at_ms)


def _is_said(body: ModelReplied | SkillDone, one: Said) -> bool:
    if not one.is_all and body.fallback is None:
        return False
    text, whole = _plain(body.text), _plain(one.text)
    is_long = len(body.text.encode()) > REPLY_TEXT_BYTES_MAX - 4
    if text == whole:
        return is_long or not body.cut
    return is_long and whole.startswith(text) and (body.cut or not one.is_all)


def frames_begin_what_was_said(reading: Reading) -> Iterator[Found]:
    """A frame is the beginning of what its runner has said so far, never more (design 9)."""
    said: dict[str, str] = {}
    for one in reading.evidence.seen:
        if isinstance(one, Said) and not one.is_all:
            said[reply_id(one.effect_id)] = one.text
        if not isinstance(one, Shown):
            continue
        text = said.get(one.reply_id)
        if text is None or not _plain(text).startswith(_plain(one.text)):
            what = f"a frame of {one.reply_id} shows what its runner has not said"
            yield Found(what, one.at_ms, session_id=one.session_id)


def _plain(text: str) -> str:
    """What a person reads of it: without control characters, nor space around it."""
    if not text.isprintable():
        text = "".join(character for character in text if character.isprintable())
    return text.replace(REPLACED, "").strip()


DIALOG_LAWS: Mapping[str, Callable[[Dialog], Iterator[Found]]] = {
    "asked as ordered": asked_as_ordered,
    "given once": given_once,
    "outcomes as said": outcomes_as_said,
}
WHOLE_LAWS: Mapping[str, Callable[[Reading], Iterator[Found]]] = {
    "frames begin what was said": frames_begin_what_was_said,
}
