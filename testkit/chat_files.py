"""Runs the dialogs of `.chat` files: on the pure step, or on the world that the file asks for.

What the pytest plugin and `ai-assistant flow chat` share. What is found by a test is that test's.
"""

from pathlib import Path

from engine.errors import Refused
from statemachines.flow import FlowError
from streams.chat import lines
from streams.chat.flows import WrongSetting, build
from streams.chat.parse import Source, read
from streams.chat.pure import PureTalk
from streams.chat.run import Failure, Ran, report, run

NOTHING = "{}:1: there is no conversation in it: below the top come lines like `ann: hi`"


def read_file(path: Path, name: str) -> Source:
    """Read a file. `name`: what it is called where something is wrong with it. Raises Refused."""
    try:
        source = read(path.read_text(encoding="utf-8"), name)
    except UnicodeDecodeError:
        raise Refused(f"{name}: this is no UTF-8 text") from None
    except OSError as error:
        raise Refused(f"{name} cannot be read: {error}") from None
    if not source.chat.dialogs:
        raise Refused(NOTHING.format(name))
    return source


def run_dialog(source: Source, number: int, *, path: Path | None = None) -> str:
    """Run the `number`-th dialog of a file (from 0): what went another way, for a person to read.

    Empty where all is well. On a world with faults the laws are checked at the end, too. `path`:
    where the file lies; a dialog that a test has found is judged by that test, which is looked for
    from there. Raises Refused where the flow that the file names cannot be built, with file and
    line.
    """
    dialog = source.chat.dialogs[number]
    head = source.chat.head_of(dialog)
    if head.found_by and path is not None:
        from testkit.owner import told  # it needs what tests need

        return told(path, head.found_by)
    if not dialog.lines and not head.world:  # a generated one may be as short as that
        raise Refused(f"{source.name}:{source.places[number][0]}: nothing stands under this title")
    try:
        flow = build(head)
    except (Refused, FlowError) as error:
        line = source.places[number][0]
        if isinstance(error, WrongSetting):
            line = source.line_of_setting(number, error.field)
        raise Refused(f"{source.name}:{line}: {error}") from None
    people = lines.people(head, dialog.lines)
    if not head.world:
        talk = PureTalk(flow, people, words=head.words)
        return report(source, number, ran=run(dialog.lines, talk, people=people))
    from testkit.chat_world import talk_on_world  # all of the kit's worlds come with it

    on_world = talk_on_world(flow, head, dialog=dialog.lines)
    ran = run(dialog.lines, on_world, people=people)
    if ran.failure is None and (broken := on_world.judged()):
        why = "\n  ".join(["at the end, this does not hold:", *broken])
        ran = Ran(
            so_far=ran.so_far,
            failure=Failure(line=len(dialog.lines), expected="", actual="", why=why),
        )
    return report(source, number, ran=ran)
