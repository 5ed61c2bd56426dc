"""Whatever happens to a worker at whichever place between opening the line and settling, the patient gets one mail.

Each cell is one message, one real process that is hit at one named place (`clinic.faults`), a real database, the real
mail sink, and a healthy worker that finds what was left behind. All cells of a round run at once.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import time as wall_time
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import connections
from django.utils.timezone import now

from clinic import ledger, messages, tasks
from clinic.models import Message, Site
from clinic.states import MessageStatus
from dev.smtp_sink import read_ledger, running_sink
from followup.demo import walk

NO_QUIET_HOURS = {"quiet_from": wall_time(0), "quiet_until": wall_time(0)}
PROJECT = Path(__file__).resolve().parents[1]
POINTS = (
    "messages.connected",
    "messages.after_claim",
    "messages.checked",
    "messages.rendered",
    "messages.before_data",
    "messages.after_data",
    "messages.before_settle",
)
FAULTS = ("kill", "stop", "raise", "hang")

LEASE, TIMEOUT, IDLE = 6, 1, 1.5  # seconds; half the lease is longer than the other two together
REACHED_WITHIN, SETTLED_WITHIN = 60, 60
TRIES = 3  # a busy machine may hold a process up so long that it never comes to its place: that says nothing yet


class NeverHeardOfIt:
    """A record that denies everything: with it a crash after the mail was taken must be seen to double it."""

    def lookup(self, message_id: str, *, since: object) -> ledger.Absent:
        return ledger.Absent()


@dataclass
class Cell:
    point: str
    fault: str
    number: int
    message: Message = field(default_factory=Message)
    pid: int = 0
    log: Path = Path()
    hit: bool = False
    ended: bool = False
    wrong: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.point} {self.fault}"

    @property
    def kind(self) -> str:
        return f"cell.{self.number}"

    def reached(self) -> bool:
        """Whether the fault has happened, or the process ended without it."""
        is_over = self.is_over()
        self.hit = "On purpose, at" in self.log.read_text()
        return is_over or self.hit

    def is_over(self) -> bool:
        if not self.ended:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
            self.ended = bool(pid) and not os.WIFSTOPPED(status)
        return self.ended

    def end(self) -> None:
        if not self.is_over():
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.ended = True


def tried(*, times: int = 1, ledger: str = "clinic.ledger.SinkLedger") -> dict[str, object]:
    """The whole matrix, each cell so many times, in a process of its own: its settings are these, its database and its
    secrets the caller's environment's. What went wrong where, by cell."""
    with tempfile.TemporaryDirectory() as folder, running_sink(Path(folder), "--idle-timeout", str(IDLE)) as sink:
        env = os.environ | {
            "DJANGO_SETTINGS_MODULE": "clinic.settings",
            "EMAIL_URL": sink.url,
            "EMAIL_TIMEOUT_SECONDS": str(TIMEOUT),
            "MESSAGE_LEASE_SECONDS": str(LEASE),
            "DELIVERY_LEDGER": ledger,
            "SINK_LEDGER": str(sink.ledger),
        }
        words = f"import django; django.setup(); from tests import crash_matrix; crash_matrix.rounds({times})"
        done = subprocess.run(
            [sys.executable, "-c", words], env=env, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True
        )
    return dict(json.loads(done.stdout))


def rounds(times: int) -> None:
    messages.AFTER_A_BREAK = (timedelta(seconds=1),)
    wrong: Counter[str] = Counter()
    everything = [(point, fault) for point in POINTS for fault in FAULTS]
    for _ in range(times):
        to_do = everything
        for _ in range(TRIES):
            cells = round_of_cells(to_do)
            wrong.update(f"{cell.name}: {what}" for cell in cells for what in cell.wrong)
            to_do = [(cell.point, cell.fault) for cell in cells if not cell.hit]
            if not to_do:
                break
        wrong.update(f"{point} {fault}: never reached" for point, fault in to_do)
    json.dump({"cells": len(everything), "times": times, "wrong": dict(sorted(wrong.items()))}, sys.stdout)


def round_of_cells(to_do: list[tuple[str, str]]) -> list[Cell]:
    cells = [Cell(point, fault, number) for number, (point, fault) in enumerate(to_do)]
    settings.MESSAGE_KINDS = {cell.kind: "tests.plain.Plain" for cell in cells}
    with tempfile.TemporaryDirectory() as folder:
        try:
            write_messages(cells)
            for cell in cells:
                cell.log = Path(folder) / str(cell.number)
                cell.pid = hit_worker(cell)
            wait_until(lambda: all(cell.reached() for cell in cells), REACHED_WITHIN)
            wait_until(lambda: all_sent(cells), SETTLED_WITHIN)
            for cell in cells:
                if cell.fault == "stop" and not cell.ended:
                    os.kill(cell.pid, signal.SIGCONT)
            wait_until(lambda: all(cell.is_over() for cell in cells if cell.fault == "stop"), REACHED_WITHIN)
            all_sent(cells)
            judge(cells)
        finally:
            for cell in cells:
                cell.end()
    return cells


def write_messages(cells: list[Cell]) -> None:
    at = now()
    site, _ = Site.objects.get_or_create(
        code="matrix", defaults={"name": "Matrix", "time_zone": "UTC", "phone": "+1 312 555 0142", **NO_QUIET_HOURS}
    )
    patient = walk.register(site, at=at, mrn=f"matrix-{uuid.uuid4()}")
    for cell in cells:
        cell.message = Message(site=site, patient=patient, kind=cell.kind, about=str(patient.pk), due_at=at)
    messages.queue(cell.message for cell in cells)


def hit_worker(cell: Cell) -> int:
    """A process of its own that delivers this one message, and is hit on the way."""

    connections.close_all()
    cell.log.touch()
    if pid := os.fork():
        return pid
    try:
        out = os.open(cell.log, os.O_WRONLY | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        settings.MESSAGE_KINDS = {cell.kind: settings.MESSAGE_KINDS[cell.kind]}
        settings.FAULT_POINTS = {cell.point: cell.fault}
        messages.deliver(at=tasks.database_now())
    finally:
        os._exit(0)


def all_sent(cells: list[Cell]) -> bool:
    """One sweep of a healthy worker, and whether nothing is left to do after it."""

    at = tasks.database_now()
    messages.recover()
    messages.reconcile(at=at)
    messages.deliver(at=at)
    ours = Message.objects.filter(pk__in=[cell.message.pk for cell in cells])
    return not ours.exclude(status=MessageStatus.SENT).exists()


def judge(cells: list[Cell]) -> None:
    mails = Counter(message_id for _, message_id, _ in read_ledger(Path(settings.SINK_LEDGER)))
    status = dict(Message.objects.values_list("pk", "status"))
    for cell in cells:
        if (count := mails[cell.message.message_id]) != 1:
            cell.wrong.append(f"{count} mails")
        if status[cell.message.pk] != "sent":
            cell.wrong.append(f"it says {status[cell.message.pk]}")


def wait_until(done: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.2)
