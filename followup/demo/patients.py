"""Demo patients at every step of the path. Everything they have been through was done by the real steps, at the moments
at which a clinic would have done it."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from enum import StrEnum
from itertools import count

from clinic import clock, optouts
from clinic.models import Category, Patient, Site
from followup import adverse, calls, events, outcomes
from followup.demo import walk
from followup.demo.clinic import stock_cells
from followup.models import Alert, FollowUpEvent
from followup.models.event import CallOutcome, EventKind
from followup.states import EventStatus
from scheduling import bookings, evaluations, referrals, requests, studies, waitlist
from scheduling.models import Appointment
from scheduling.models.mri import ReaderRole, Scale
from scheduling.models.protocol import Visit

BY = "coordinator"


class Step(StrEnum):
    """How far `seed_demo --step` goes; each contains the ones before it."""

    REFERRED = "referred"
    EVALUATED = "evaluated"
    BOOKED = "booked"
    PREPARED = "prepared"
    INJECTED = "injected"
    RECOVERS = "recovers"
    FOLLOWED_UP = "followed_up"
    OUTCOME = "outcome"


NAMES = (
    ("Adaeze", "Nwosu", "female"),
    ("Bjorn", "Halvorsen", "male"),
    ("Camila", "Ortega", "female"),
    ("Dmitri", "Volkov", "male"),
    ("Esther", "Goldberg", "female"),
    ("Farid", "Rahimi", "male"),
    ("Giulia", "Bianchi", "female"),
    ("Hiroshi", "Kobayashi", "male"),
    ("Irene", "Papadaki", "female"),
    ("João", "Figueiredo", "male"),
    ("Katarzyna", "Zielińska", "female"),
    ("Liam", "O'Rourke", "male"),
    ("Maryam", "Al-Sayed", "female"),
    ("Nikhil", "Deshpande", "male"),
    ("Olga", "Petrenko", "female"),
    ("Pedro", "Castellanos", "male"),
    ("Quynh", "Tran", "female"),
    ("Rasmus", "Lund", "male"),
    ("Sena", "Yilmaz", "female"),
    ("Thabo", "Mokoena", "male"),
    ("Ursula", "Steiner", "female"),
    ("Victor", "Ionescu", "male"),
)

SPOKEN = {"Camila": "es", "João": "pt", "Maryam": "ar", "Sena": "tr", "Ursula": "de"}  # the others: English


class Crowd:
    """The next patient, and the day they came: one site, one present moment."""

    def __init__(self, site: Site, *, at: datetime) -> None:
        self.site = site
        self.at = at
        self._number = count()

    def days_ago(self, days: int) -> datetime:
        """Ten in the morning at the clinic, on a working day at least that long ago."""
        day = clock.local_date(self.at, self.site.zone) - timedelta(days=days)
        while day.weekday() > 4:
            day -= timedelta(days=1)
        return clock.at_local(day, walk.MORNING, self.site.zone)

    def next(self, *, at: datetime, **given: object) -> Patient:
        number = next(self._number)
        given_name, family_name, sex = NAMES[number % len(NAMES)]
        return walk.register(
            self.site,
            at=at,
            mrn=f"LS-{1001 + number}",
            given_name=given_name,
            family_name=family_name,
            sex=sex,
            language=SPOKEN.get(given_name, "en"),
            birth_date=date(1958 + 2 * (number % 18), 1 + number % 12, 3 + number),
            email=f"patient.{1001 + number}@example.org",
            phone=f"+1312555{1001 + number}",
            **given,
        )

    def injected(self, days: int, *, code: str = "bone-marrow-same-session") -> Appointment:
        """A patient whose injection was about so many days ago, followed up until now."""
        came = self.days_ago(days + 21)
        episode = walk.open_episode(self.next(at=came), at=came, code=code)
        appointment = walk.book(episode, at=came, days_ahead=21)
        events.open_due(at=came)
        walk.answer(episode, "baseline", vas=66, at=appointment.during.lower - timedelta(days=3))
        walk.inject(appointment)
        return appointment


def seed(site: Site, *, to: Step, at: datetime) -> int:
    """Patients at every step up to `to`. Does nothing at a site that has patients. Returns how many there are."""
    if not site.patients.exists():
        stock_cells(site, at=at - timedelta(days=900), units=20, shelf_life=timedelta(days=1200))
        crowd = Crowd(site, at=at)
        for step in list(Step)[: list(Step).index(to) + 1]:
            FILL[step](crowd)
        events.open_due(at=at)
        events.miss_overdue(at=at)
        outcomes.complete_due(at=at)
    return site.patients.count()


def referred(crowd: Crowd) -> None:
    sources = ("Lakeshore Family Practice", "Dr. A. Mbeki, rheumatology", "The patient")
    for days, source in enumerate(sources, 1):
        at = crowd.days_ago(days)
        referrals.receive(
            crowd.next(at=at),
            source=source,
            reason="Low back pain for more than a year; asks about cell therapy",
            received_on=at.date(),
            by=BY,
            at=at,
        )


def evaluated(crowd: Crowd) -> None:
    at = crowd.days_ago(4)
    waiting = walk.evaluate(walk.refer(crowd.next(at=at), at=at), at=at)
    evaluations.judge(waiting, protocol=walk.protocol(), by=BY, at=at)
    walk.sign(crowd.next(at=at), at=at, back_pain_vas_mm=25, discitis=True)
    walk.sign(crowd.next(at=at), at=at, t_score=None, bmi=None)
    walk.sign(crowd.next(at=at), at=at)


def booked(crowd: Crowd) -> None:
    at = crowd.days_ago(3)
    for code, ahead in (
        ("bone-marrow-same-session", 5),
        ("disc-progenitor-allogeneic", 8),
        ("umbilical-cord-allogeneic", 12),
    ):
        last = walk.book(walk.open_episode(crowd.next(at=at), at=at, code=code), at=at, days_ahead=ahead)
    waitlist.add(last.episode, visit=Visit.PROCEDURE, by=BY, at=crowd.at)  # would come sooner
    walk.open_episode(crowd.next(at=at), at=at, code="bone-marrow-expanded")
    first, second = Appointment.objects.filter(site=crowd.site).order_by("during")[:2]
    bookings.confirm(first, by=BY, at=crowd.at)
    requests.ask_to_move(second, version=second.version, by="patient", at=crowd.at)


def prepared(crowd: Crowd) -> None:
    came = crowd.days_ago(15)
    appointment = walk.book(walk.open_episode(crowd.next(at=came), at=came), at=came, days_ahead=14)
    walk.prepare(appointment)


def injected(crowd: Crowd) -> None:
    crowd.injected(1, code="disc-progenitor-allogeneic")


def recovers(crowd: Crowd) -> None:
    for days in (3, 11):
        appointment = crowd.injected(days)
        walk.send_home(appointment.injection)
        follow(crowd, appointment, until=days - 1, worried=days == 3)
    look_after(crowd)


def look_after(crowd: Crowd) -> None:
    """A worrying answer turned out to be an adverse event, which a clinician has begun to follow."""
    alert = Alert.objects.filter(event__episode__patient__site=crowd.site).earliest("raised_at")
    event = adverse.record(
        alert.event.episode,
        alert=alert,
        term="Fever with back pain",
        ctcae_version="6.0",
        grade=2,
        seriousness=["important"],
        related_to_procedure="possible",
        onset_on=clock.local_date(alert.raised_at, crowd.site.zone),
        by=BY,
        at=crowd.at,
    )
    adverse.follow(event, by="clinician", at=crowd.at)


def followed_up(crowd: Crowd) -> None:
    for days in (33, 95, 190, 380):
        appointment = crowd.injected(days, code="disc-progenitor-allogeneic" if days == 95 else walk.SAME_SESSION)
        walk.send_home(appointment.injection)
        follow(crowd, appointment, until=days - 12)
    second_opinion(crowd)


def second_opinion(crowd: Crowd) -> None:
    """The latest follow-up MRI was read again by somebody who sees one disc differently."""
    scan = FollowUpEvent.objects.filter(episode__patient__site=crowd.site, mri__isnull=False).latest("closed_at")
    discs = [{"level": walk.LEVEL, "scale": Scale.PFIRRMANN, "grade": 4}]
    studies.read(scan.mri, role=ReaderRole.SECOND, discs=discs, read_by="Dr Jonas Lindqvist", by=BY, at=crowd.at)


def outcome(crowd: Crowd) -> None:
    for vas in (18, 55):
        appointment = crowd.injected(765)
        walk.send_home(appointment.injection)
        follow(crowd, appointment, until=760, end=vas)
    optouts.stop(appointment.episode.patient, category=Category.SURVEYS, by="patient", at=crowd.at)
    lost = crowd.injected(420)
    walk.send_home(lost.injection)
    follow(crowd, lost, until=120)
    outcomes.lose(lost.episode, reason="Moved away; phone and e-mail no longer work", by=BY, at=crowd.at)


FILL: dict[Step, Callable[[Crowd], None]] = {
    Step.REFERRED: referred,
    Step.EVALUATED: evaluated,
    Step.BOOKED: booked,
    Step.PREPARED: prepared,
    Step.INJECTED: injected,
    Step.RECOVERS: recovers,
    Step.FOLLOWED_UP: followed_up,
    Step.OUTCOME: outcome,
}


def follow(crowd: Crowd, appointment: Appointment, *, until: int, end: int = 30, worried: bool = False) -> None:
    """Answer what fell due up to `until` days after the injection; every fourth survey by phone, pain falling to
    `end` mm within half a year."""
    episode = appointment.episode
    episode.refresh_from_db()
    anchor_at = episode.anchor_at
    assert anchor_at is not None  # noqa: S101 - an_injected_episode_has_its_anchor
    last = clock.local_date(anchor_at, crowd.site.zone) + timedelta(days=until)
    due = FollowUpEvent.objects.with_dates().filter(
        episode=episode, status=EventStatus.OPEN, due_on__lte=last, due_on__gt=anchor_at.date()
    )
    for number, event in enumerate(due.order_by("due_on", "code")):
        days = (event.due_on - anchor_at.date()).days
        vas = round(66 - (66 - end) * min(days, 180) / 180)
        at = walk.at_noon(event.due_on + timedelta(days=min(1, event.permitted_after)))
        if event.kind == EventKind.SURVEY and number % 4 == 3:
            calls.log(event, outcome=CallOutcome.ANSWERED, note="", by=BY, at=at)
            walk.follow_up(event, vas=vas, at=at, mode="phone")
        else:
            walk.follow_up(event, vas=vas, at=at, worried=worried and event.code == "day-1")
