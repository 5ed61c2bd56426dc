"""Messages a second from what the clinic's data say to the mail server's ledger, at 1, 2 and 4 processes, beside the
bare limit of smtplib against the same mail server in the same run; and what a sweep costs that finds nothing to send
among a million settled messages. `--long`: a hundred thousand due at once."""

import os
import smtplib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from django.conf import settings
from django.db import connection
from django.utils.timezone import now

from bench._timing import milliseconds
from bench.faults import people
from bench.faults.people import LATER, Clinic
from bench.faults.service import DATABASE, MailServer, own_servers
from clinic import messages, tasks
from clinic.models import Message
from clinic.states import MessageStatus
from followup import reminders as followup_reminders
from scheduling import reminders

PROCESSES = (1, 2, 4)
PATIENTS = 1_000  # for each of these; each is told of the visit and asked the survey before it
ON_ONE_LINE = 50
SETTLED, MANY = 1_000_000, 100_000
WARM_UP = 12  # until the connection keeps the plans of what it asks
forked = get_context("fork")


def run() -> dict[str, Any]:
    with a_database_that_syncs(), TemporaryDirectory() as folder:
        mail = MailServer(Path(folder), keep_mails=False)
        mail.start()
        try:
            return measured(mail)
        finally:
            mail.kill()


@contextmanager
def a_database_that_syncs() -> Iterator[None]:
    """The database that benches are given is told not to wait for the disk; every message here waits for it twice."""
    before = dict(connection.settings_dict)
    with own_servers() as (_, instance):
        connection.close()
        port, password = instance.remembered()["postgres"], instance.password
        connection.settings_dict.update(HOST="127.0.0.1", PORT=port, NAME=DATABASE, USER="pulposus", PASSWORD=password)
        try:
            yield
        finally:
            connection.close()
            connection.settings_dict.update(before)


def measured(mail: MailServer) -> dict[str, Any]:
    settings.EMAIL_BACKEND = "clinic.relay.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", mail.port
    clinic = people.found(now())
    plan()
    tasks.deliver_messages()  # a worker that has run for a while has read its templates
    figures: dict[str, Any] = {}
    first = 1
    for processes in PROCESSES:
        many, ours = end_to_end(clinic, mail, processes, range(first, first + PATIENTS))
        first += PATIENTS
        limit = many / bare(mail, processes, many)
        figures |= {f"per_s_{processes}": many / ours, f"limit_per_s_{processes}": limit}
    figures |= {"per_s": figures["per_s_2"], "limit_per_s": figures["limit_per_s_2"]}
    figures["share_of_limit"] = figures["per_s"] / figures["limit_per_s"]
    model = Message.objects.filter(status=MessageStatus.SENT, kind=reminders.BOOKED).first()
    assert model
    copies(model, SETTLED)
    figures |= idle() | {"settled": Message.objects.count()}
    if os.environ.get("BENCH_LONG"):
        copies(model, MANY, status=MessageStatus.DUE)
        figures |= drained(mail)
    return figures


def end_to_end(clinic: Clinic, mail: MailServer, processes: int, numbers: range) -> tuple[int, float]:
    """How many mails arrived, and the seconds it took from the clinic's data to the last line of the ledger."""
    at, before = now(), len(mail.ledger())
    moment = people.moment_of(LATER, zone_now=at.astimezone(clinic.site.zone)).astimezone(UTC)
    people.come(clinic, LATER, list(numbers), [moment] * len(numbers))
    start = time.perf_counter()
    plan()
    planned = time.perf_counter() - start
    seconds = planned + together(processes, deliver)
    return len(mail.ledger()) - before, seconds


def deliver(number: int, told: "SimpleQueue[Any]") -> None:
    """What a worker does at each tick, one after the other until nothing is due."""
    while True:
        done = tasks.deliver_messages()
        told.put((number, time.time(), psutil.Process().memory_info().rss))
        if not (done.get("sent") or done.get("skipped")):
            return


def bare(mail: MailServer, processes: int, many: int) -> float:
    """The seconds that smtplib takes for as many mails of the same size, and nothing else."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM clinic_message WHERE status = 'sent' ORDER BY id LIMIT 1")
        written = as_bytes(Message.objects.select_related("patient", "site").get(pk=cursor.fetchone()[0]))

    def send(_: int, __: "SimpleQueue[Any]") -> None:
        for _batch in range(max(1, many // processes // ON_ONE_LINE)):
            with smtplib.SMTP("127.0.0.1", mail.port, timeout=20) as relay:
                for _mail in range(ON_ONE_LINE):
                    relay.sendmail("clinic@example.org", "quillfeather@example.org", written)

    batches = max(1, many // processes // ON_ONE_LINE) * ON_ONE_LINE * processes
    return together(processes, send) * many / batches


def as_bytes(message: Message) -> bytes:
    said = messages.kind_of(message.kind).render(message, at=now())
    mail = EmailMessage(policy=policy.SMTP)
    mail["From"], mail["To"], mail["Subject"] = "clinic@example.org", "quillfeather@example.org", said.subject
    mail["Message-ID"] = message.message_id
    mail.set_content(said.text, cte="quoted-printable")
    mail.add_alternative(said.html, subtype="html", cte="quoted-printable")
    return mail.as_bytes()


def together(
    processes: int, work: Callable[[int, "SimpleQueue[Any]"], None], told: "SimpleQueue[Any] | None" = None
) -> float:
    """The seconds from the moment at which all begin to the moment at which the last has ended."""
    connection.close()
    ready, told = forked.Barrier(processes + 1), told or forked.SimpleQueue()

    def begin(number: int) -> None:
        ready.wait()
        work(number, told)

    children = [forked.Process(target=begin, args=(number,)) for number in range(processes)]
    for child in children:
        child.start()
    ready.wait()
    start = time.perf_counter()
    for child in children:
        child.join()
    if any(child.exitcode for child in children):
        raise RuntimeError("A process of the bench failed.")
    return time.perf_counter() - start


def copies(model: Message, many: int, **changed: Any) -> None:
    """Messages like `model`, each about an occasion of its own."""
    own = {"id": "gen_random_uuid()", "occasion": "n::text"} | {name: f"'{value}'" for name, value in changed.items()}
    if changed:
        own |= {"sent_at": "NULL", "occasion": "'due-' || n"}
    columns = [field.column for field in Message._meta.concrete_fields]
    values = ", ".join(own.get(column, f"model.{column}") for column in columns)
    names = ", ".join(f'"{column}"' for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO clinic_message ({names}) SELECT {values} FROM clinic_message AS model, "
            f"generate_series(1, {many}) AS n WHERE model.id = %s",
            [model.pk],
        )
        cursor.execute("VACUUM ANALYZE clinic_message")


def idle() -> dict[str, float]:
    """The sweeps of a quiet minute, as a worker runs them that has run them before."""
    return {"idle_sweep_ms": usually(tasks.deliver_messages), "idle_planning_ms": usually(plan)}


def plan() -> None:
    reminders.queue_due(at=now())
    followup_reminders.queue_due(at=now())


def usually(sweep: Callable[[], Any]) -> float:
    for _ in range(WARM_UP):
        sweep()
    return milliseconds(sweep, times=25)


def drained(mail: MailServer) -> dict[str, Any]:
    """The rate at the beginning and at the end, and the memory of a worker after its first sweeps and its last."""
    before, told = len(mail.ledger()), forked.SimpleQueue()
    seconds = together(2, deliver, told)
    arrived = [datetime.fromisoformat(at) for at, _, _ in mail.ledger()[before:]]
    quarter = len(arrived) // 4
    memory: dict[int, list[int]] = {}
    while not told.empty():
        number, _, size = told.get()
        memory.setdefault(number, []).append(size)
    return {
        "drained": len(arrived),
        "drained_per_s": len(arrived) / seconds,
        "drained_per_s_first_quarter": quarter / (arrived[quarter] - arrived[0]).total_seconds(),
        "drained_per_s_last_quarter": quarter / (arrived[-1] - arrived[-quarter]).total_seconds(),
        "drained_mb_early": median(sizes[len(sizes) // 10] for sizes in memory.values()) / 1e6,
        "drained_mb_late": median(sizes[-1] for sizes in memory.values()) / 1e6,
    }
