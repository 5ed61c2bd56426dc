"""What goes wrong: said without saying about whom (an exception's text may quote a row, its type and place never do),
and made to go wrong on purpose at named places, so that a test can end a process exactly there."""

import logging
import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import PurePath

from django.conf import settings

log = logging.getLogger(__name__)


def told(fault: BaseException) -> str:
    """`fault` fit for a log line: "KeyError at scheduling/reminders.py:88"."""
    frames = traceback.extract_tb(fault.__traceback__)
    if not frames:
        return type(fault).__name__
    last = frames[-1]
    place = "/".join(PurePath(last.filename).parts[-2:])
    return f"{type(fault).__name__} at {place}:{last.lineno}"


class OnPurpose(Exception):
    """Raised at a named place because somebody asked for it."""


def point(name: str) -> None:
    """A named place where the process is killed, stopped, hung or hit by an exception if settings.FAULT_POINTS says so.
    Outside of tests and fault runs the settings refuse to say anything."""
    if fault := settings.FAULT_POINTS.get(name):
        log.warning("On purpose, at %s: %s", name, fault)
        FAULTS[fault]()


def _send_to_ourselves(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def _raise() -> None:
    raise OnPurpose


FAULTS: dict[str, Callable[[], None]] = {
    "kill": lambda: _send_to_ourselves(signal.SIGKILL),
    "stop": lambda: _send_to_ourselves(signal.SIGSTOP),
    "raise": _raise,
    "hang": lambda: time.sleep(24 * 60 * 60),
}
