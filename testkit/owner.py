"""The test that found a saved dialog: whoever runs the file alone asks that test.

A predicate stands in the test's class and nowhere else, so a file that only the laws judged would
pass for ever. Where the test is gone, that is what is told; nothing is judged here.
"""

import importlib
import sys
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from types import ModuleType

from engine.errors import Refused

GONE = (
    "{} was found by {}, which is no test any more. Where it has another name now, write that "
    "behind `found by:`; where nobody wants it any more, delete the file"
)


def told(path: Path, found_by: str) -> str:
    """What the test says of its saved dialog; empty where all holds. `found_by`: its node id, from
    its file on, which lies in the folder above the dialog's."""
    file, *names = found_by.split("::")
    where = path.resolve().parent.parent / file
    if not where.is_file() or len(names) < 2:
        return GONE.format(path, found_by)
    try:
        tests = attrgetter(".".join(names[:-1]))(_imported(where))
    except AttributeError:
        return GONE.format(path, found_by)
    except Refused as error:
        return f"{path} was found by {found_by}, which cannot be asked: {error}"
    from testkit.dialog_tests import DialogTests, judge_saved  # it is there: its class is

    if not (isinstance(tests, type) and issubclass(tests, DialogTests)):
        return GONE.format(path, found_by)
    return judge_saved(tests, path)


def is_there(found_by: str, tests: Sequence[str]) -> bool:
    """Whether the test is among these names; which of a test's worlds and flows is left out."""
    return found_by.rpartition("::")[2].partition("[")[0] in {
        name.partition("[")[0] for name in tests
    }


def _imported(file: Path) -> ModuleType:
    """The module of a test file: the one that is loaded, or under the name that pytest gives it."""
    for module in [*sys.modules.values()]:
        known = getattr(module, "__file__", None)
        if known and Path(known).name == file.name and Path(known).resolve() == file:
            return module
    names, folder = [file.stem], file.parent
    while (folder / "__init__.py").is_file():
        names, folder = [folder.name, *names], folder.parent
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    name = ".".join(names)
    try:
        module = importlib.import_module(name)
    except Exception as error:  # somebody's own module: it may raise anything
        raise Refused(f"{file} cannot be imported: {type(error).__name__}: {error}") from None
    if Path(str(module.__file__)).resolve() != file:
        raise Refused(f"{file} cannot be imported: {module.__file__} has the same name")
    return module
