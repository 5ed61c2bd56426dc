"""`make demo`: a whole clinic on this machine, with patients at every step and an inbox that shows the e-mails sent.

PORT=8123 picks the port, DEMO_PASSWORD the password of the demo logins; a DATABASE_URL or REDIS_URL in the environment
is used instead of the servers out of wheels. What the demo stores lies in var/demo; `make clean` forgets it.
`make manage ARGS="import_patients FILE"` runs any command of manage.py in the demo that is running.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import NoReturn

import psutil

from dev import PROJECT, VAR, environment
from dev.machine import ServicesError, port_is_free, tail, write_private
from dev.processes import Child, Stopped, Together, kill_group, on_stop_signals, service_commands, stop_on_signal
from dev.services import servers
from dev.smtp_sink import running_sink

FOLDER = VAR / "demo"
LOGS = FOLDER / "logs"
RUNNING = FOLDER / "environment.json"  # of the demo that runs now
STEPS = {
    "migrating the database": ["migrate", "--noinput"],
    "filling the demo clinic": ["seed_demo"],
}


class DemoFailed(Exception):
    """What went wrong, and what to do about it."""


def main(command: list[str]) -> int:
    if command:
        return manage_running(command)
    on_stop_signals(stop_on_signal)
    try:
        LOGS.mkdir(parents=True, exist_ok=True)
        end_leftovers()  # first: they may hold the port
        demo(port_from_environment())
    except (DemoFailed, ServicesError) as problem:
        print(f"\nmake demo: {problem}", file=sys.stderr)
        return 1
    except Stopped:
        print("Everything is stopped. `make demo` continues where you left off.")
    return 0


def manage_running(command: list[str]) -> int:
    """One command of manage.py, in the demo that runs in another terminal."""
    notes = (json.loads(note.read_text()) for note in FOLDER.glob("processes-*.json"))
    if not RUNNING.exists() or not any(alive(*note["demo"]) for note in notes):
        print(
            "No demo is running here. Start one with `make demo` in another terminal, then try again.", file=sys.stderr
        )
        return 1
    env = os.environ | json.loads(RUNNING.read_text())
    return subprocess.run([sys.executable, PROJECT / "manage.py", *command], env=env, check=False).returncode


@contextlib.contextmanager
def findable(env: dict[str, str]) -> Iterator[None]:
    write_private(RUNNING, json.dumps(env))
    try:
        yield
    finally:
        RUNNING.unlink(missing_ok=True)


def port_from_environment() -> int:
    word = os.environ.get("PORT") or "8000"
    if not word.isdigit() or not 0 < int(word) < 65536:
        raise DemoFailed(f"PORT={word} is not a port number. Try PORT=8123 make demo.")
    if not port_is_free(int(word)):
        raise DemoFailed(
            f"Port {word} is in use, perhaps by another demo. Stop that program, or use another port: "
            "PORT=8123 make demo."
        )
    return int(word)


def demo(port: int) -> None:
    say("starting PostgreSQL, Valkey and a mail server")
    with contextlib.ExitStack() as stack:
        urls = stack.enter_context(servers("demo", scratch=False))
        stack.callback(print, "\nStopping ...", flush=True)
        sink = stack.enter_context(running_sink(FOLDER))
        env = urls | environment.demo(port=port, mail_port=sink.port, folder=FOLDER)
        prepare(env)
        stack.enter_context(findable(env))

        say("starting web, worker, beat and stand-in")
        together = stack.enter_context(Together(env, LOGS))
        for name, command in service_commands(f"127.0.0.1:{port}", FOLDER).items():
            together.start(name, *command)
        stack.enter_context(noted([*(child.process for child in together.children), sink.process]))
        wait_for_web(port, together)
        print(welcome(port, env), flush=True)

        def mail_server_lives() -> None:
            if sink.process.poll() is not None:
                raise DemoFailed("The demo's mail server stopped; all else was stopped too.")

        raise_for(together.wait(mail_server_lives))


def prepare(env: dict[str, str]) -> None:
    """The database step by step; the static files, which need no database, beside it."""
    with collected_static_files(env):
        for words, command in STEPS.items():
            say(words)
            with manage(env, *command) as step:
                finished(step, command[0])


@contextlib.contextmanager
def collected_static_files(env: dict[str, str]) -> Iterator[None]:
    """Collecting compresses every file anew, some seconds' work, so it is done only when one has changed."""
    note, now = FOLDER / "static-files", static_fingerprint()
    if note.exists() and note.read_text() == now and (PROJECT / "staticfiles").is_dir():
        yield
        return
    with manage(env, "collectstatic", "--noinput") as process:
        yield
        finished(process, "collectstatic")
    note.write_text(now)


def static_fingerprint() -> str:
    """Our own static files, and what says which version of everybody else's is installed."""
    sources = [*PROJECT.glob("*/static/**/*"), PROJECT / "requirements.txt", *PROJECT.glob("*/settings.py")]
    facts = [f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in sorted(sources) if path.is_file()]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


@contextlib.contextmanager
def manage(env: dict[str, str], *command: str) -> Iterator[subprocess.Popen[bytes]]:
    with (LOGS / f"{command[0]}.log").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "manage.py", *command],
            env=os.environ | env,
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def finished(process: subprocess.Popen[bytes], name: str) -> None:
    if process.wait():
        raise DemoFailed(f"`manage.py {name}` failed.\n{tail(LOGS / f'{name}.log', 25)}")


def wait_for_web(port: int, together: Together, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        if child := together.dead():
            raise_for(child)
        with contextlib.suppress(OSError):
            if answers(f"http://127.0.0.1:{port}/"):
                return
        if time.monotonic() > deadline:
            raise DemoFailed(f"The web server does not answer.\n{tail(LOGS / 'web.log')}")
        time.sleep(0.1)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10):  # noqa: S310
            return True
    except urllib.error.HTTPError as refusal:
        return refusal.code < 500


def raise_for(child: Child) -> NoReturn:
    log = LOGS / f"{child.name}.log"
    raise DemoFailed(
        f"The {child.name} process ended by itself (exit {child.process.returncode}), so everything was stopped. "
        f"Its log, {log.relative_to(PROJECT)}, ends:\n{tail(log)}"
    )


def welcome(port: int, env: dict[str, str]) -> str:
    site = f"http://127.0.0.1:{port}"
    rows = [
        ("The clinic's calendar and work lists", f"{site}/admin/"),
        ("Every e-mail sent, as the patient sees it", f"{site}/demo/inbox/"),
        ("The API", f"{site}/api/docs/"),
        ("Start page", f"{site}/"),
        ("Log in as", f"coordinator  or  clinician, password  {env['DEMO_PASSWORD']}"),
        ("Any command in it", 'make manage ARGS="import_patients FILE"'),
        ("Logs", f"{LOGS.relative_to(PROJECT)}/"),
    ]
    line = "-" * 78
    return "\n".join(
        ["", line, *(f"  {what:<43}{where}" for what, where in rows), line, "  Ctrl-C stops everything.", ""]
    )


# A demo that is killed with -9 leaves its processes behind. The next one finds their ids here and ends them.


@contextlib.contextmanager
def noted(processes: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    note = FOLDER / f"processes-{os.getpid()}.json"
    born = {process.pid: psutil.Process(process.pid).create_time() for process in processes}
    note.write_text(json.dumps({"demo": [os.getpid(), psutil.Process().create_time()], "children": list(born.items())}))
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def end_leftovers() -> None:
    for note in FOLDER.glob("processes-*.json"):
        facts = json.loads(note.read_text())
        if alive(*facts["demo"]):
            continue
        for pid, born in facts["children"]:
            if alive(pid, born):
                family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
                kill_group(pid)
                psutil.wait_procs(family, timeout=5)
        note.unlink()


def alive(pid: int, born: float) -> bool:
    """The same process, and not a later one with its number."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - born) < 1
    except psutil.NoSuchProcess:
        return False


def say(words: str) -> None:
    print(f"  {words} ...", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
