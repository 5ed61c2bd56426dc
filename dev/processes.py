"""Web, worker, beat and stand-in side by side: started together, stopped together, and the first to die is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from dev import PROJECT

# A worker gets this long to finish the task in its hands.
GRACE_SECONDS = 10
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """Somebody asked us to stop: Ctrl-C, SIGTERM, or the terminal went away."""

    def __init__(self, signum: int):
        self.signum = signum


@dataclass
class Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path | None


class Together:
    """A handful of processes. Used as a context manager, it leaves none behind.

    Honcho was considered: it signals whole process groups, so that Celery's pool dies under its master's hands, gives
    five seconds, and reports a child that ended with 0 as success.
    """

    def __init__(self, env: Mapping[str, str], logs: Path | None = None):
        self.env = os.environ | env
        self.logs = logs
        self.children: list[Child] = []

    def __enter__(self) -> Together:
        return self

    def __exit__(self, *_: object) -> None:
        before = [signal.signal(number, signal.SIG_IGN) for number in STOP_SIGNALS]
        try:
            self.stop()  # a second Ctrl-C must not interrupt the tidying up
        finally:
            for number, action in zip(STOP_SIGNALS, before, strict=True):
                signal.signal(number, action)

    def start(self, name: str, *command: str | Path) -> Child:
        log = self.logs / f"{name}.log" if self.logs else None
        out = log.open("wb") if log else None
        process = subprocess.Popen(
            [str(part) for part in command],
            env=self.env,
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT if out else None,
            start_new_session=True,  # Ctrl-C reaches us alone, and we decide the order
        )
        if out:
            out.close()
        child = Child(name, process, log)
        self.children.append(child)
        return child

    def dead(self) -> Child | None:
        return next((child for child in self.children if child.process.poll() is not None), None)

    def wait(self, while_alive: Callable[[], None] = lambda: None) -> Child:
        """Return the first that dies. None of them is meant to."""
        while True:
            if child := self.dead():
                return child
            while_alive()
            time.sleep(0.2)

    def stop(self) -> None:
        """TERM goes to the main process alone, which looks after its own children; KILL to what is left."""
        for child in reversed(self.children):
            if child.process.poll() is None:
                child.process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for child in reversed(self.children):
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                print(f"{child.name} did not stop within {GRACE_SECONDS} s and was killed.", file=sys.stderr)
            kill_group(child.process.pid)
            child.process.wait()


def on_stop_signals(action: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, action)


def stop_on_signal(signum: int, _frame: object) -> None:
    on_stop_signals(signal.SIG_IGN)
    raise Stopped(signum)


def kill_group(leader: int) -> None:
    """Whatever a child left in its session, such as the pool of a worker that was killed."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def service_commands(bind: str, state: Path) -> dict[str, list[str]]:
    """The processes of the service, as docker-compose.yml starts them too."""
    python = sys.executable
    web = [python, "-m", "gunicorn", "--bind", bind]
    if os.environ.get("DEBUG", "0").lower() in ("1", "true", "yes", "on"):
        web = [python, "manage.py", "runserver", bind]
    celery = [python, "-m", "celery", "-A", "clinic"]
    return {
        "web": web,
        "worker": [*celery, "worker", "--concurrency", "2", "--loglevel", "INFO"],
        "beat": [*celery, "beat", "--schedule", str(state / "beat-schedule"), "--loglevel", "INFO"],
        "stand-in": [python, "manage.py", "stand_in"],
    }
