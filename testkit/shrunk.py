"""A failure as people read it: the shrunk dialog as a chat with its states, and what broke where.

Made from the evidence of the last, smallest run. It only tells: nothing is run or judged again.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from engine.effects import CallModel, FindIntent, Forward, RunSkill
from engine.events import (
    ClockReached,
    Event,
    FeedbackGiven,
    FlowActivated,
    HandedBack,
    IntentFailed,
    IntentFound,
    MessageReceived,
    ModelFailed,
    ModelReplied,
    OperatorSaid,
    Redriven,
    ReplyUndelivered,
    SkillDone,
    SkillFailed,
    StopRequested,
)
from testkit.dialogs import Dialog, Moment, dialogs, name_of
from testkit.predicates import Finding
from testkit.stimuli import to_json
from testkit.worlds import Called, Evidence, Fault, Received, Rejected, Wrote

if TYPE_CHECKING:
    from testkit.judging import Verdict  # it needs Hypothesis; a chat does not


WHOLE_MAX = 300
"""Lines of a chat that is shown whole: more than any list of stimuli makes that comes to rest."""
_ENDS, _AROUND = 22, 7
_WIDE = 58
_TEXT_MAX = 48
_LAST = 1_000_000_000
Line = tuple[int, int, str]
"""When (log time, then order), and what to print."""


def as_text(verdict: "Verdict", finding: Finding) -> str:
    """The whole report of a finding: what broke, the chat, and how to run it again."""
    plan = verdict.plan
    where = "the simulator" if verdict.world == "simulator" else "the pure step"
    others = sorted({one.name for one in verdict.broken if not finding.is_alike(one)})
    lines = [
        f"{finding.name}: {finding.what}",
        "",
        *(f"  {line}" for line in chat(verdict.evidence, finding)),
        "",
        *([f"broken as well: {', '.join(others)}"] if others else []),
        f"flow {verdict.flow.ref} on {where}, seed {plan.seed}, {plan.around}",
        f"{len(plan.stimuli)} stimuli: {to_json(plan.stimuli)}",
    ]
    return "\n".join(lines)


def chat(evidence: Evidence, finding: Finding | None = None) -> list[str]:
    """All dialogs of a run, in the order of time: who said what, and what state that led to.

    What a finding says stands where it came true; at the end, if it has no time. Of a run that
    has no end, what is between its beginning, the finding and its end is left out.
    """
    return _elided(_whole(evidence, finding))


def _elided(lines: Sequence[str]) -> list[str]:
    if len(lines) <= WHOLE_MAX:
        return [*lines]
    crosses = (at for at, line in enumerate(lines) if line.lstrip(" 0123456789:.").startswith("✗"))
    at = next(crosses, len(lines))
    kept = {
        *range(_ENDS),
        *range(at - _AROUND, at + _AROUND),
        *range(len(lines) - _ENDS, len(lines)),
    }
    shown: list[str] = []
    left_out = 0
    for number, line in enumerate(lines):
        if number not in kept:
            left_out += 1
            continue
        if left_out:
            shown.append(f"{'…':>12}  {left_out} more lines")
        left_out = 0
        shown.append(line)
    return shown


def _whole(evidence: Evidence, finding: Finding | None) -> list[str]:
    start_ms = _start_ms(evidence)
    found = dialogs(evidence)
    received = {seen.reply_id for seen in evidence.seen if isinstance(seen, Received)}
    called = {seen.reply_id for seen in evidence.seen if isinstance(seen, Called)}
    lines: list[Line] = [*_faults(evidence), *_not_taken(evidence, found)]
    for dialog in found:
        for moment in dialog.moments:
            texts = _moment(dialog, moment, received=received, called=called)
            lines += [(moment.at_ms, 2 * moment.offset + 1, text) for text in texts]
    if finding is not None:
        at_ms = finding.at_ms or max((line[0] for line in lines), default=start_ms)
        whose = _whose(evidence, finding.session_id) if finding.session_id else ""
        lines.append((at_ms, _LAST, f"✗ {finding.name}{f' ({whose})' if whose else ''}"))
    lines.sort(key=lambda line: line[:2])
    return _timed(lines, start_ms)


def _timed(lines: Sequence[Line], start_ms: int) -> list[str]:
    shown, before = [], -1
    for at_ms, _, text in lines:
        time = _clock(at_ms - start_ms) if at_ms != before else ""
        shown.append(f"{time:>12}  {text}".rstrip())
        before = at_ms
    return shown


# ---- one step ------------------------------------------------------------------------------------


def _moment(
    dialog: Dialog, moment: Moment, *, received: set[str], called: set[str]
) -> Iterator[str]:
    record, event = moment.record, moment.event
    quiet = record.note in ("", "ignored") and not (record.path or record.effects)
    if event is None or (isinstance(event.body, ClockReached | FlowActivated) and quiet):
        return
    left = _cause(dialog, moment, event)
    state = f"[{record.before}]" if record.before == record.after else ""
    state = state or f"[{record.before} → {record.after}]"
    asks = [_asks(effect.body) for effect in record.effects]
    tail = [record.note, *(text for text in asks if text), record.error or ""]
    yield f"{left:<{_WIDE}} {state} {', '.join(text for text in tail if text)}".rstrip()
    for said in moment.said:
        author = "bot" if said.author == "bot" else "operator"
        fate = "" if said.reply_id in received else "   (not received)"
        fate = fate or ""
        if fate and said.reply_id not in called:
            fate = "   (never sent)"
        yield f"{author} to {dialog.user}: {_short(said.text)}{fate}"
    messages = {one.event_id: one for _, one in dialog.came()}
    for ended in record.dispositions:
        if ended.how != "answered" and ended.message in messages:
            text = _short(messages[ended.message].text)
            yield f"    {ended.how}: {text}{' (' + ended.note + ')' if ended.note else ''}"


def _cause(dialog: Dialog, moment: Moment, event: Event) -> str:
    """What happened, in words."""
    who = dialog.user
    match event.body:
        case MessageReceived(text=text):
            known = next((m for _, m in dialog.came() if m.event_id == event.id), None)
            return f"{known.user if known else who}: {_short(text)}"
        case Redriven(message=message):
            return f"(redriven) {who}: {_short(message.text)}"
        case ModelReplied(text=text, fallback=fallback):
            matched = f", matches the fallback strategy {fallback}" if fallback else ""
            return f"(for {who}) the model answers {_short(text)}{matched}"
        case SkillDone(text=text):
            return f"(for {who}) the skill answers {_short(text)}"
        case IntentFound(intent=intent):
            return f"(for {who}) the recogniser finds {intent or 'nothing'}"
        case ModelFailed(reason=reason):
            return f"(for {who}) the model fails: {reason}"
        case SkillFailed(reason=reason):
            return f"(for {who}) the skill fails: {reason}"
        case IntentFailed(reason=reason):
            return f"(for {who}) the recogniser fails: {reason}"
        case _:
            return _told(who, moment, event)


def _told(who: str, moment: Moment, event: Event) -> str:
    match event.body:
        case ClockReached():
            ways = ", ".join(micro.trigger for micro in moment.record.path)
            return f"(for {who}) time is up: {ways or 'nothing'}"
        case OperatorSaid(text=text):
            return f"an operator to {who}: {_short(text)}"
        case HandedBack():
            return f"an operator hands {who} back to the bot"
        case StopRequested():
            return f"{who} presses stop"
        case FeedbackGiven(verdict=verdict):
            return f"{who} judges: {verdict}"
        case ReplyUndelivered(state=state):
            return f"(for {who}) a reply was not delivered: {state}"
        case _:
            return f"(for {who}) {event.type}"


def _asks(body: object) -> str:
    match body:
        case CallModel():
            return "asks the model"
        case RunSkill(skill=skill):
            return f"runs {skill}"
        case FindIntent():
            return "asks for the intent"
        case Forward(text=text):
            return f"forwards {_short(text)}"
        case _:
            return ""


# ---- what no step shows --------------------------------------------------------------------------


def _faults(evidence: Evidence) -> Iterator[Line]:
    for seen in evidence.seen:
        if isinstance(seen, Fault):
            point = f" (at {seen.point})" if seen.point and seen.point not in seen.what else ""
            lasted = f" for {_clock(seen.lasted_ms)}" if seen.lasted_ms else ""
            yield seen.at_ms, 0, f"⚡ {seen.what}{lasted}{point}"


def _not_taken(evidence: Evidence, found: Sequence[Dialog]) -> Iterator[Line]:
    """Messages that no step took: refused at the door, set aside, or lost."""
    taken = {message.event_id for dialog in found for _, message in dialog.came()}
    refused = {seen.event_id for seen in evidence.seen if isinstance(seen, Rejected)}
    for seen in evidence.seen:
        if isinstance(seen, Wrote) and seen.event_id not in taken:
            fate = "refused at the door" if seen.event_id in refused else "no step took it"
            yield seen.at_ms, 1, f"{name_of(seen.user)}: {_short(seen.text)}   ({fate})"


# ---- words ---------------------------------------------------------------------------------------


def _start_ms(evidence: Evidence) -> int:
    """When the first thing was seen: where the chat's clock begins."""
    return min((seen.at_ms for seen in evidence.seen), default=0)


def _whose(evidence: Evidence, session_id: str) -> str:
    users = [s.user for s in evidence.seen if isinstance(s, Wrote) and s.session_id == session_id]
    return name_of(users[0]) if users else session_id


def _clock(ms: int) -> str:
    """Hours, minutes, seconds and what is left of them, since the beginning."""
    seconds, rest = divmod(max(0, ms), 1_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    hour = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{hour}:{seconds:02}" + (f".{rest:03}" if rest else "")


def _short(text: str) -> str:
    one_line = " ".join(text.split())
    if len(one_line) > _TEXT_MAX:
        return f"{one_line[:_TEXT_MAX]}… ({len(text)} characters)"
    return one_line if one_line else "(nothing)"
