"""The command line beside a running engine: a real one, with a scripted model, in a process."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner, Result

from adapters.logs.sqlite import SqliteLog
from console.commands import assistant
from console.exit_codes import ExitCode
from engine import codec
from engine.events import Address, Event, MessageReceived
from engine.ids import message_event_id
from engine.ports import Append, DeadLetter
from streams.embedded import data_dir

COMMAND = [sys.executable, "-m", "console.main"]
ENDED_WITHIN_S = 30
LOST_SESSION = "webchat:web:k1:000000000000000000000000"
LOST = message_event_id(LOST_SESSION, "web", message_id="lost")


def free_port() -> int:
    """A port that was free just now; an engine that is restarted must find it again."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def set_a_message_aside(data: Path) -> None:
    """A log in which one message killed the engine three times, before this one starts."""
    data_dir.prepare(data)
    address = Address(channel="webchat", account="web", conversation="lost", sender="lost")
    body = MessageReceived(message_id="lost", text="I was lost", address=address)
    at_ms = time.time_ns() // 1_000_000
    event = Event(id=LOST, session_id=LOST_SESSION, at_ms=at_ms, source="webchat:web", body=body)
    value = codec.encode(event)
    log = SqliteLog(data / data_dir.LOG_FILE)
    with log.transaction(log.claim(0)) as batch:
        (offset,) = batch.append([Append(LOST_SESSION, LOST, value)], at_ms=at_ms)
        batch.put_dead_letters(
            [
                DeadLetter(
                    partition=0,
                    offset=offset,
                    session_id=LOST_SESSION,
                    error="the process died here three times",
                    value=value,
                    at_ms=at_ms,
                )
            ]
        )
        batch.put_watermark(offset)
    log.close()


class Engine:
    """`ai-assistant run` on a data directory of its own, and the other commands beside it."""

    def __init__(self, home: Path) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AI_ASSISTANT", "XDG_"))}
        self.env = kept | {
            "HOME": str(home),
            "AI_ASSISTANT_DATA": str(home / "data"),
            "AI_ASSISTANT_CONFIG": str(home),
            "AI_ASSISTANT_MODEL__KIND": "scripted",
            "AI_ASSISTANT_SKILLS__ENABLED": "[]",
            "AI_ASSISTANT_SERVER__BIND": f"127.0.0.1:{free_port()}",
        }
        set_a_message_aside(home / "data")
        self.process = subprocess.Popen(
            [*COMMAND, "run"], env=self.env, stdout=subprocess.PIPE, text=True
        )
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Read on until the engine says where it is."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line == f"the assistant is at http://{self.env['AI_ASSISTANT_SERVER__BIND']}\n"

    def kill_the_engine(self) -> None:
        """Kill the parent's child, without a warning."""
        (child,) = psutil.Process(self.process.pid).children()
        child.kill()

    def ai(self, *args: str) -> Result:
        """Run another command beside it, in this process, which is quicker."""
        return CliRunner(env=self.env).invoke(assistant, args, prog_name="ai-assistant")

    def process_of(self, *args: str, typed: str = "") -> "subprocess.CompletedProcess[str]":
        """Run another command beside it, as a person would."""
        return subprocess.run(
            [*COMMAND, *args],
            env=self.env,
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def stop(self) -> int:
        """Ask it to stop; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(ENDED_WITHIN_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One engine for all tests of this file; it must end with 0."""
    running = Engine(tmp_path_factory.mktemp("home"))
    yield running
    assert running.stop() == 0


def test_a_question_is_answered_once(engine: Engine) -> None:
    asked = engine.ai("chat", "--new", "--once", "What is the capital of France?")
    assert (asked.exit_code, asked.stderr) == (0, "")
    assert asked.stdout.strip() == "What is the capital of France?"  # the scripted model's echo


def test_typed_lines_are_answered_in_their_conversation(engine: Engine) -> None:
    first = engine.process_of("chat", "--new", typed="good morning\n")
    assert first.stdout.splitlines() == ["assistant> good morning"]
    again = engine.process_of("chat", typed="and again")
    assert again.stdout.splitlines() == [
        "you> good morning",
        "assistant> good morning",
        "assistant> and again",
    ]


def test_a_person_at_a_terminal_is_told_what_to_do(engine: Engine) -> None:
    leader, follower = pty.openpty()
    talk = subprocess.Popen(
        [*COMMAND, "chat", "--new"], env=engine.env, stdin=follower, stdout=follower, close_fds=True
    )
    os.close(follower)
    shown = ""
    for wanted, typed in (("you> ", b"hello\n"), ("assistant> hello\r\nyou> ", b"\x04")):
        while not shown.endswith(wanted):
            shown += os.read(leader, 4_096).decode()
        os.write(leader, typed)
    assert talk.wait(ENDED_WITHIN_S) == 0
    os.close(leader)
    assert shown.startswith("Write a message; Ctrl-D ends.\r\nyou> hello\r\n")


def test_an_operator_answers_a_person_and_hands_them_back(engine: Engine) -> None:
    asked = engine.ai("chat", "--new", "--once", "human")
    assert "colleague" in asked.stdout
    (waiting,) = json.loads(engine.ai("operator", "list", "--json").stdout)
    session_id = waiting["session_id"]
    assert waiting["last_text"] == "human"
    assert session_id in engine.ai("operator", "list").stdout
    assert engine.ai("operator", "say", session_id[-8:], "Ann here").exit_code == 0
    assert engine.ai("operator", "hand-back", session_id).exit_code == 0
    assert engine.ai("operator", "list").stdout == "nobody is waiting\n"
    assert engine.ai("operator", "list", "--json").stdout == "[]\n"
    assert "operator> Ann here" in engine.process_of("chat").stdout
    refused = engine.ai("operator", "say", session_id, "too late")
    assert refused.exit_code == 1
    assert "no handed-over session" in refused.stderr


def test_a_session_is_read_and_its_message_traced_while_the_engine_runs(engine: Engine) -> None:
    engine.ai("chat", "--new", "--once", "trace me")
    listed = json.loads(engine.ai("sessions", "list", "--json").stdout)
    newest = listed[0]
    assert newest["last_text"] == "trace me"
    assert newest["session_id"] in engine.ai("sessions", "list").stdout
    text = engine.ai("sessions", "show", newest["session_id"][-8:])
    assert "    trace me" in text.stdout
    assert "new → bot.answering" in text.stdout
    shown = json.loads(engine.ai("sessions", "show", newest["session_id"], "--json").stdout)
    message = next(entry for entry in shown["entries"] if entry["author"] == "person")
    traced = engine.ai("trace", message["id"].rpartition("/")[2], "--json")
    assert traced.exit_code == 0
    found = json.loads(traced.stdout)
    assert found["disposition"] == "answered"
    hops = [hop["what"] for hop in found["hops"]]
    for hop in ("appended", "stepped", "effect", "outcome", "marked", "receipted"):
        assert hop in hops
    assert "nothing is left to do" in engine.ai("trace", message["id"]).stdout


def test_a_terminal_goes_on_where_it_was_when_the_engine_was_killed(engine: Engine) -> None:
    talk = subprocess.Popen(
        [*COMMAND, "chat", "--new"],
        env=engine.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert talk.stdin is not None
    assert talk.stdout is not None
    talk.stdin.write("before\n")
    assert talk.stdout.readline() == "assistant> before\n"
    engine.kill_the_engine()
    talk.stdin.write("while it is dead\n")
    engine.wait_until_ready()
    assert talk.stdout.readline() == "assistant> while it is dead\n"
    talk.stdin.close()
    assert talk.stdout.read() == ""
    assert talk.wait(ENDED_WITHIN_S) == 0
    talk.stdout.close()


def test_a_dead_letter_is_listed_taken_again_and_answered(engine: Engine) -> None:
    (letter,) = json.loads(engine.ai("dead-letters", "list", "--json").stdout)
    assert (letter["number"], letter["redriven_ms"]) == ("0:1", None)
    assert "three times" in engine.ai("dead-letters", "list").stdout
    traced = engine.ai("trace", LOST)
    assert (traced.exit_code, "dead-letters redrive 0:1` brings it back" in traced.stdout) == (
        1,
        True,
    )
    shown = engine.ai("sessions", "show", LOST_SESSION)
    assert "state    none: nothing of it was stepped" in shown.stdout
    assert "dead-letters redrive 0:1` brings it back" in shown.stdout
    assert json.loads(engine.ai("sessions", "show", LOST_SESSION, "--json").stdout)["state"] == ""
    unknown = engine.ai("dead-letters", "redrive", "0:99")
    assert (unknown.exit_code, "no dead letter '0:99'" in unknown.stderr) == (1, True)
    assert engine.ai("dead-letters", "redrive", letter["number"]).exit_code == 0
    for _ in range(100):
        shown = engine.ai("sessions", "show", LOST_SESSION, "--json")
        if shown.exit_code == 0 and '"bot"' in shown.stdout:
            break
        time.sleep(0.1)
    said = [(e["author"], e["text"]) for e in json.loads(shown.stdout)["entries"] if e["author"]]
    assert said[-2:] == [("person", "I was lost"), ("bot", "I was lost")]
    traced = json.loads(engine.ai("trace", LOST, "--json").stdout)
    assert [hop["what"] for hop in traced["hops"]][:4] == [
        "appended",
        "set aside",
        "redriven",
        "stepped",
    ]
    assert (traced["ended"], traced["disposition"]) == (True, "answered")
    (letter,) = json.loads(engine.ai("dead-letters", "list", "--json").stdout)
    assert letter["redriven_ms"] is not None


def test_a_new_key_is_made_beside_a_running_assistant_which_is_to_be_restarted(
    engine: Engine,
) -> None:
    (first,) = json.loads(engine.ai("keys", "list", "--json").stdout)
    assert first == {"id": "k1", "current": True, "announced": False}
    rotated = engine.ai("keys", "rotate")
    assert (rotated.exit_code, rotated.stdout) == (
        0,
        "key k2 names new conversations from the next start on\n",
    )
    assert "restart it" in rotated.stderr
    listed = engine.ai("keys", "list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["KEY", "k2", "k1"]
    engine.ai("chat", "--new", "--once", "which key?")  # it goes on with the keys it has
    (newest, *_) = json.loads(engine.ai("sessions", "list", "--json").stdout)
    assert newest["session_id"].split(":")[2] == "k1"


def test_doctor_knows_the_running_assistant(engine: Engine) -> None:
    assert "the assistant is running there" in engine.ai("doctor").stdout


def test_a_second_engine_on_the_directory_is_refused(engine: Engine) -> None:
    second = engine.process_of("run")
    assert second.returncode == 1
    assert "is in use by another process" in second.stderr


def test_an_apology_for_an_answer_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    env = os.environ | {
        "HOME": str(tmp_path),
        "AI_ASSISTANT_MODEL__KIND": "openai",
        "AI_ASSISTANT_MODEL__MODEL": "none",
        "AI_ASSISTANT_MODEL__BASE_URL": f"http://127.0.0.1:{free_port()}/v1",
        "AI_ASSISTANT_SKILLS__ENABLED": "[]",
    }
    asked = subprocess.run(
        [*COMMAND, "chat", "--once", "hello", "--data", str(tmp_path / "d")],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert asked.returncode == ExitCode.UNANSWERED
    assert asked.stdout == "Sorry, I could not answer that just now. Please try again.\n"
    assert "the model failed, unavailable: http://127.0.0.1:" in asked.stderr
    letters = [*COMMAND, "dead-letters", "list", "--data", str(tmp_path / "d")]
    assert subprocess.run(letters, env=env, capture_output=True, check=True).stdout == b"none\n"


def test_without_an_engine_chat_once_starts_one_for_the_question(tmp_path: Path) -> None:
    env = os.environ | {
        "HOME": str(tmp_path),
        "AI_ASSISTANT_MODEL__KIND": "scripted",
        "AI_ASSISTANT_SKILLS__ENABLED": "[]",
    }
    for question in ("first", "second"):
        asked = subprocess.run(
            [*COMMAND, "chat", "--once", question, "--data", str(tmp_path / "d")],
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (asked.returncode, asked.stdout.strip(), asked.stderr) == (0, question, "")
    listed = subprocess.run(
        [*COMMAND, "sessions", "list", "--json", "--data", str(tmp_path / "d")],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    (session,) = json.loads(listed.stdout)
    assert session["turns"] == 2
