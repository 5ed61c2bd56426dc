"""The run itself: the service under everything that can go wrong, and then the reckoning."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Count
from django.utils.timezone import now

from bench.faults import people
from bench.faults.day import Day
from bench.faults.judge import Inbox, Verdict, judge, subjects
from bench.faults.service import Crew, MailServer, Pace
from bench.faults.troubles import Storm, drawn
from clinic.models import Message
from dev import PROJECT
from dev.instance import Instance

# A witness of our own in the database: when each message was claimed, committed with the claim.
WITNESS = """
CREATE TABLE faults_claim (message uuid NOT NULL, at timestamptz NOT NULL);
CREATE FUNCTION faults_note() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO faults_claim VALUES (NEW.id, clock_timestamp()); RETURN NEW; END $$;
CREATE TRIGGER faults_witness AFTER UPDATE ON clinic_message FOR EACH ROW
    WHEN (NEW.status = 'sending' AND (OLD.status <> 'sending' OR OLD.attempts <> NEW.attempts))
    EXECUTE FUNCTION faults_note();
"""


@dataclass(frozen=True)
class Wanted:
    """What a run shall be like."""

    due: int
    kills: int
    seconds: float
    drain: float
    seed: int
    pace: Pace
    workers: int = 2
    beats: int = 2


def run(wanted: Wanted, *, folder: Path, instance: Instance, mail: MailServer, env: dict[str, str]) -> dict[str, Any]:
    clinic = people.found(now())
    with connection.cursor() as cursor:
        cursor.execute(WITNESS)
    connection.close()
    crew = Crew(folder, env)
    crew.hire(workers=wanted.workers, beats=wanted.beats)
    storm = Storm(instance, mail, crew, random.Random(wanted.seed))
    day = Day(clinic, due=wanted.due, seconds=wanted.seconds * 0.9, seed=wanted.seed)
    reckoning = Reckoning(day, mail, wanted.pace)
    try:
        crew.keep_alive()
        day.start()
        troubles = drawn(storm.chance, seconds=wanted.seconds, kills=wanted.kills, lease=wanted.pace.lease)
        storm.rage(troubles, seconds=wanted.seconds, beside=day.check)
        storm.calm()
        drained = reckoning.drain(storm, seconds=wanted.drain)
    finally:
        day.given_up.set()
        crew.dismiss()
        day.join(10)
    day.check()
    verdict = reckoning.verdict()
    reckoning.explain(verdict)
    return storm.losses() | verdict.figures() | reckoning.aside(crew) | {"drain_s": drained, "seed": wanted.seed}


class Reckoning:
    def __init__(self, day: Day, mail: MailServer, pace: Pace) -> None:
        self.linger = pace.lease + 3 * pace.sweep  # once all has arrived: does anything come twice?
        self.day = day
        self.mail = mail
        self.inbox = Inbox(mail.maildir, subjects(PROJECT))

    def drain(self, storm: Storm, *, seconds: float) -> float:
        """Wait until everything that was due has arrived, and a little longer; how long it took."""
        start = time.monotonic()
        while time.monotonic() < start + seconds and (self.day.is_alive() or self.verdict().lost):
            storm.put_right()
            time.sleep(1)
        drained = time.monotonic() - start
        end = time.monotonic() + self.linger
        while time.monotonic() < end:
            storm.put_right()
            time.sleep(0.2)
        return round(drained, 1)

    def verdict(self) -> Verdict:
        mails = self.inbox.mails(self.mail.ledger())
        return judge(list(self.day.duties), list(self.day.deeds), mails, self.claims(), until=now())

    def claims(self) -> dict[str, Sequence[datetime]]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT message, array_agg(at) FROM faults_claim GROUP BY message")
            return {Message(pk=key).message_id: [at.astimezone(UTC) for at in ats] for key, ats in cursor.fetchall()}

    def aside(self, crew: Crew) -> dict[str, Any]:
        """What nobody is judged by the numbers of, but would want to know."""
        left = Message.objects.exclude(status__in=["sent", "skipped"]).values_list("status").annotate(Count("pk"))
        named = sum(people.NAME.lower() in line.lower() for line in crew.logs().splitlines())
        deeds = len(self.day.deeds)
        return {"deeds": deeds, "names_in_logs": named, "left": dict(left), "lease_s": settings.MESSAGE_LEASE.seconds}

    def explain(self, verdict: Verdict, most: int = 5) -> None:
        """What the outbox says about what went wrong: for a person, after the judgement."""
        for rule in verdict.broken:
            for to, kind in getattr(verdict, rule)[:most]:
                rows = Message.objects.filter(patient__email=to).order_by("due_at")
                told = [f"{row.kind} {row.status} attempts={row.attempts} {row.reason[:80]}" for row in rows]
                print(
                    f"{rule}: {to} {kind}; deeds {[d for d in self.day.deeds if d.to == to]}; rows: {told}", flush=True
                )
