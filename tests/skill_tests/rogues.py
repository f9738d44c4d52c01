"""Skills as they must not be, and a few good ones; only ever loaded by worker processes."""

import os
import pickle
import re
import subprocess
import sys
import threading
import time

from adapters.skills.base import AISkill, ModelUnavailable, SkillContext, SkillMetadata
from engine.errors import Refused


class Named(AISkill):
    """Its metadata is made of its class name; the others build on it."""

    def get_metadata(self) -> SkillMetadata:
        name = type(self).__name__
        return {"name": name, "version": "1.0", "trigger_words": [f"run {name}"]}


class Echo(Named):
    def execute(self, input_text: str) -> str:
        return f"you said {input_text}"


class Facts(Named):
    """All of its context, so that a test can see what arrived."""

    def execute(self, input_text: str) -> str:
        context = self.context
        copy = pickle.loads(pickle.dumps(context))
        try:
            copy.model("?")
            copied = "the copy has a model"
        except ModelUnavailable as error:
            copied = error.reason
        return "|".join(
            (
                str(context.settings["unit"]),
                context.session.id,
                context.request_id,
                str(context.deadline_ms),
                str(0 < context.remaining_ms() <= 5_000),
                context.locale,
                ",".join(context.model_languages),
                str(copy == context),
                copied,
            )
        )


class Hangs(Named):
    """Unless told to be good."""

    def execute(self, input_text: str) -> str:
        if input_text == "be good":
            return "good"
        while True:
            time.sleep(3600)


class HangsInC(Named):
    """Holds the interpreter lock: no thread of the process can do anything about it."""

    def execute(self, input_text: str) -> str:
        return str(re.match(r"(a+)+$", "a" * 60 + "b"))


class Starts(Named):
    """Starts a process, writes down both ids, and hangs."""

    def execute(self, input_text: str) -> str:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
        with open(input_text, "w") as file:
            file.write(f"{os.getpid()} {child.pid}\n")
        time.sleep(3600)
        return ""


class Dies(Named):
    def execute(self, input_text: str) -> str:
        os._exit(7)


class Raises(Named):
    def execute(self, input_text: str) -> str:
        raise ValueError(f"I cannot read {input_text}")


class Exits(Named):
    def execute(self, input_text: str) -> str:
        sys.exit(f"bye {input_text}")


class Declines(Named):
    def execute(self, input_text: str) -> str:
        raise Refused(f"not for {input_text}")


class Unbuildable(Named):
    """Can be made for its metadata, not for a call."""

    def __init__(self, context: SkillContext) -> None:
        super().__init__(context)
        if context.request_id:
            raise KeyError("licence")


class Prints(Named):
    """To everything that could be the way to the host."""

    def execute(self, input_text: str) -> str:
        print("noise" * 10_000, flush=True)
        print("noise" * 10_000, file=sys.stderr, flush=True)
        os.write(1, b"\x00\x00\x00\x04junk")
        subprocess.run([sys.executable, "-c", "print('more noise')"], check=True)
        return f"read {sys.stdin.read()!r}"


class Numbers(Named):
    def execute(self, input_text: str) -> str:
        return 42  # type: ignore[return-value]


class Surrogate(Named):
    def execute(self, input_text: str) -> str:
        return "\ud800"


class Endless(Named):
    def execute(self, input_text: str) -> str:
        return "字" * 5_000_000


class Forks(Named):
    """Its child comes back from the call too, and would answer in the name of the next one."""

    def execute(self, input_text: str) -> str:
        if os.fork() == 0:
            time.sleep(0.2)
            return "from the child"
        return "from the parent"


class Environment(Named):
    def execute(self, input_text: str) -> str:
        return os.environ.get(input_text, "not there")


class Asks(Named):
    """The model, and says what came of it."""

    def execute(self, input_text: str) -> str:
        try:
            return f"the model says {self.context.model(input_text, max_tokens=7)}"
        except ModelUnavailable as error:
            return f"no model: {error.reason}"


class AsksTwice(Named):
    def execute(self, input_text: str) -> str:
        return self.context.model("one") + self.context.model("two")


class AsksInAThread(Named):
    def execute(self, input_text: str) -> str:
        found: list[str] = []

        def ask() -> None:
            try:
                self.context.model(input_text)
            except ModelUnavailable as error:
                found.append(error.reason)

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        return found[0]


class AsksCarelessly(Named):
    def execute(self, input_text: str) -> str:
        return self.context.model(input_text)


class Static:
    """A class of this shape that is no subclass, and whose metadata needs no instance."""

    def __init__(self, context: SkillContext) -> None:
        pass

    def execute(self, input_text: str) -> str:
        return "static"

    @staticmethod
    def get_metadata() -> SkillMetadata:
        return {"name": "Static", "version": "1.0", "trigger_words": ["run Static"]}


class Bare(Static):
    """Written exactly as the interface is often written down: without self."""

    def get_metadata() -> SkillMetadata:  # type: ignore[misc,override]
        return {"name": "Bare", "version": "1.0", "trigger_words": ["run Bare"]}


class OfTheClass(Static):
    @classmethod
    def get_metadata(cls) -> SkillMetadata:  # type: ignore[override]
        return {"name": "OfTheClass", "version": "1.0", "trigger_words": ["run OfTheClass"]}


class SlowToDescribe(Named):
    def get_metadata(self) -> SkillMetadata:
        time.sleep(3600)
        return super().get_metadata()


class DiesDescribing(Named):
    def get_metadata(self) -> SkillMetadata:
        os._exit(1)


class RaisesDescribing(Named):
    def get_metadata(self) -> SkillMetadata:
        raise RuntimeError("a secret")


class NoJson(Named):
    def get_metadata(self) -> SkillMetadata:
        return {"name": object(), "version": "1.0", "trigger_words": []}  # type: ignore[typeddict-item]


class Twin(Named):
    """Says that it is somebody else."""

    def get_metadata(self) -> SkillMetadata:
        return {"name": "ECHO", "version": "2", "trigger_words": ["twin"]}


class Copycat(Named):
    def get_metadata(self) -> SkillMetadata:
        return {"name": "Copycat", "version": "2", "trigger_words": ["copy", "RUN echo"]}


not_a_class = 3
