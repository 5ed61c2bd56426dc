"""The same troubles over plain Celery: as many messages, as many kills and losses of servers, the same bad mail server,
the same judge."""

import os
import random
import re
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg

from bench.faults.judge import Deed, Inbox, Verdict, judge
from bench.faults.service import Crew, MailServer, Member
from bench.faults.troubles import KILL, Storm, drawn
from bench.faults.truth import Duty
from dev.instance import Instance

KIND = "reminder"
ENDED = 0.05  # share of the messages whose subject is over before they fall due
PUBLISH = 15  # seconds in which everything is handed over before the troubles begin
PATIENCE = 60  # seconds at the end in which nothing arrives any more, or it is given up
ON_ITS_WAY = timedelta(seconds=2)  # nobody notes when a task looks at the state, so this much is forgiven it


@dataclass(frozen=True)
class Wanted:
    due: int
    kills: int
    seconds: float
    seed: int
    lease: int
    kills_only: bool = False


def run(wanted: Wanted, *, folder: Path, instance: Instance, mail: MailServer) -> dict[str, Any]:
    instance.ensure_database("rival")
    env = {
        "REDIS_URL": instance.redis_url(0),
        "RIVAL_DATABASE": instance.database_url("rival"),
        "RIVAL_MAIL_PORT": str(mail.port),
    }
    os.environ.update(env)
    with psycopg.connect(env["RIVAL_DATABASE"]) as connection:
        connection.execute("CREATE TABLE ended (patient text PRIMARY KEY)")
    crew = Crew(folder, env, [worker(number) for number in range(2)])
    clinic = Clinic(wanted, env["RIVAL_DATABASE"])
    storm = Storm(instance, mail, crew, random.Random(wanted.seed))
    inbox = Inbox(mail.maildir, {KIND: re.compile(KIND)})

    def verdict() -> Verdict:
        return judge(clinic.duties, clinic.deeds, inbox.mails(mail.ledger()), {}, until=datetime.now(UTC))

    try:
        crew.keep_alive()
        clinic.hand_over()
        time.sleep(max(0, (clinic.start - datetime.now(UTC)).total_seconds()))
        troubles = drawn(storm.chance, seconds=wanted.seconds, kills=wanted.kills, lease=wanted.lease)
        if wanted.kills_only:
            troubles = [trouble for trouble in troubles if trouble.what == KILL]
        storm.rage(troubles, seconds=wanted.seconds, beside=clinic.call_off)
        storm.calm()
        until_nothing_comes(mail, storm)
    finally:
        crew.dismiss()
    figures = storm.losses() | verdict().figures() | {"seed": wanted.seed}
    return figures | {"matrix_cells": 0, "matrix_wrong": None}  # it has no steps that could be named


def worker(number: int) -> Member:
    options = ("--concurrency", "1", "--loglevel", "WARNING", "--without-mingle", "--without-gossip")
    command = [sys.executable, "-m", "celery", "-A", "bench.faults.rival", "worker", *options]
    return Member(f"worker-{number}", [*command, "-n", f"rival-{number}@%h"])


class Clinic:
    """Books everything at the start, for times all over the run; now and then something is called off in time."""

    def __init__(self, wanted: Wanted, database: str) -> None:
        self.chance = random.Random(wanted.seed)
        self.database = database
        self.start = start = datetime.now(UTC) + timedelta(seconds=PUBLISH)
        moments = [start + timedelta(seconds=wanted.seconds * 0.9 * self.chance.random()) for _ in range(wanted.due)]
        self.duties = [
            Duty(f"rival-{number}@example.org", KIND, moment, start) for number, moment in enumerate(sorted(moments))
        ]
        self.ahead = [duty for duty in reversed(self.duties) if self.chance.random() < ENDED]
        self.deeds: list[Deed] = []

    def hand_over(self) -> None:
        rival = import_module("bench.faults.rival")
        with rival.app.connection(os.environ["REDIS_URL"]) as broker:
            for number, duty in enumerate(self.duties):
                rival.remind.apply_async((duty.to, f"<{number}@rival>"), eta=duty.due_at, connection=broker)

    def call_off(self) -> None:
        """Call off what falls due in a few seconds."""
        while self.ahead and self.ahead[-1].due_at <= datetime.now(UTC) + 2 * ON_ITS_WAY:
            begun = datetime.now(UTC)
            try:
                with psycopg.connect(self.database, connect_timeout=2) as connection:
                    connection.execute("INSERT INTO ended VALUES (%s) ON CONFLICT DO NOTHING", [self.ahead[-1].to])
            except psycopg.OperationalError:
                return  # the database is down; it is tried again
            self.deeds.append(Deed("died", self.ahead.pop().to, begun, datetime.now(UTC) + ON_ITS_WAY))


def until_nothing_comes(mail: MailServer, storm: Storm) -> None:
    """Whatever still arrives is waited for, as long as something does."""
    many, since = -1, time.monotonic()
    while time.monotonic() < since + PATIENCE:
        if len(mail.ledger()) > many:
            many, since = len(mail.ledger()), time.monotonic()
        storm.put_right()
        time.sleep(0.5)
