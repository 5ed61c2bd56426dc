"""The clinic goes on while everything breaks: patients come, visits are cancelled and moved, somebody wants no more
mail, somebody dies. Who did what by when is kept, for the judge."""

import heapq
import random
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Event, Thread
from typing import TypeVar

from django.db import DatabaseError, connection, transaction
from django.utils.timezone import now

from bench.faults import people, truth
from bench.faults.judge import Deed
from bench.faults.people import AHEAD, FORMS, FRESH, Clinic
from bench.faults.truth import Duty
from clinic import optouts, patients
from clinic.models import Patient
from scheduling import bookings
from scheduling.models import Appointment
from scheduling.states import AppointmentStatus

T = TypeVar("T")
BY = "coordinator"
BEAT = 0.5  # seconds between two groups of patients
DEEDS = {"cancelled": 0.15, "moved": 0.05, "stopped": 0.05, "died": 0.03}  # share of those with a visit ahead
LATEST_DEED = 15  # seconds after they came: some before their mail is claimed, some after it
OF_A_VISIT = 3  # so many mails, at most, are not owed any more after a deed
FRESH_WITHIN = 20  # seconds until an injection that is recorded now has happened


class Day(Thread):
    """Runs beside the troubles. What the database refuses because it is down is asked again until it is done."""

    def __init__(self, clinic: Clinic, *, due: int, seconds: float, seed: int) -> None:
        super().__init__(name="day", daemon=True)
        self.clinic, self.due, self.seconds = clinic, due, seconds
        self.chance = random.Random(seed)
        self.duties: list[Duty] = []
        self.deeds: list[Deed] = []
        self.ahead: list[tuple[float, int, str]] = []
        self.number = self.owed = 0
        self.failed: BaseException | None = None
        self.given_up = Event()

    def run(self) -> None:
        try:
            self.pass_by()
        except BaseException as fault:  # the run must hear of it, and end
            self.failed = fault
        finally:
            connection.close()

    def check(self) -> None:
        if self.failed:
            raise self.failed

    def pass_by(self) -> None:
        start = time.monotonic()
        self.ask_what_is_due([0])
        while self.owed < self.due or self.ahead:
            part = min(1.0, (time.monotonic() - start) / self.seconds)
            while self.owed < self.due * part:
                self.some_come()
            while self.ahead and self.ahead[0][0] <= time.monotonic():
                _, number, what = heapq.heappop(self.ahead)
                self.do(what, number)
            if self.given_up.wait(BEAT):
                return

    def some_come(self) -> None:
        """One of each form, in its turn."""
        at = now()
        groups = defaultdict(list)
        for form in FORMS:
            self.number += 1
            groups[form].append(self.number)
        for form, numbers in groups.items():
            moments = [self.moment(form, at) for _ in numbers]
            self.until_done(partial(people.come, self.clinic, form, numbers, moments))
        self.ask_what_is_due([number for numbers in groups.values() for number in numbers])
        for number in groups[AHEAD]:
            self.decide(number)

    def ask_what_is_due(self, numbers: list[int]) -> None:
        at = now()
        found = self.until_done(partial(truth.duties, [people.address(number) for number in numbers], known_at=at))
        self.duties += found
        self.owed += sum(duty.due_at <= at + timedelta(seconds=FRESH_WITHIN) for duty in found)

    def moment(self, form: str, at: datetime) -> datetime:
        if form == FRESH:
            return at + timedelta(seconds=self.chance.uniform(0, FRESH_WITHIN))
        return people.moment_of(form, zone_now=at.astimezone(self.clinic.site.zone)).astimezone(UTC)

    def decide(self, number: int) -> None:
        drawn = self.chance.random()
        for what, part in DEEDS.items():
            if drawn < part:
                when = time.monotonic() + self.chance.uniform(0, LATEST_DEED)
                heapq.heappush(self.ahead, (when, number, what))
                self.owed -= OF_A_VISIT
                return
            drawn -= part

    def do(self, what: str, number: int) -> None:
        to, begun = people.address(number), now()
        self.until_done(partial(_do, what, to))
        self.deeds.append(Deed(what, to, begun, now()))

    def until_done(self, step: Callable[[], T]) -> T:
        while True:
            try:
                return step()
            except DatabaseError:
                connection.close()
                if self.given_up.wait(0.2):
                    raise


def _do(what: str, to: str) -> None:
    """Each may be asked again after a line broke on its commit, and then finds it done."""
    patient = Patient.objects.get(email=to)
    match what:
        case "cancelled":
            visit = Appointment.objects.get(episode__patient=patient)
            if visit.status != AppointmentStatus.CANCELLED:
                bookings.cancel(visit, reason="The patient called", by=BY, at=now())
        case "moved":
            _move(patient)
        case "stopped":
            optouts.stop(patient, by=BY, at=now())
        case "died":
            patients.mark_deceased(patient, on=None, by=BY, at=now())


@transaction.atomic
def _move(patient: Patient) -> None:
    """An hour later. In SQL: a search for free rooms would find the ones that the copies have not taken."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE scheduling_appointment a
                  SET during = tstzrange(lower(during) + interval '1 hour', upper(during) + interval '1 hour'),
                      version = version + 1, revision = revision + 1, changed_at = clock_timestamp()
                 FROM scheduling_episode e WHERE e.id = a.episode_id AND e.patient_id = %s AND a.version = 1""",
            [patient.pk],
        )
