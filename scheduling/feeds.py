"""iCal out: what a room, a device, a person or a patient has before them, for the calendar they already look at.

A feed tells the least: no patient, no diagnosis, no procedure, and no day that is nobody's business any more. Its bytes
depend on the rows alone, never on the moment of asking, so that an unchanged day answers "not modified"."""

import hashlib
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.models import Exists, OuterRef, Q, Sum
from django.urls import reverse
from django.utils.crypto import salted_hmac
from django.utils.module_loading import import_string
from django.utils.translation import gettext
from icalendar import Calendar

from clinic import languages, links
from clinic.models import Link, Patient, Practitioner, Site
from clinic.models.links import Purpose
from clinic.text import clean
from scheduling.invites import CANCELLED, CONFIRMED, Entry, entry_of, event_of, plain, status_of
from scheduling.models import Appointment, Closure, Episode, Reservation, Resource
from scheduling.models.appointment import ReservationKind
from scheduling.models.protocol import ResourceKind
from scheduling.states import APPOINTMENT_LIVE

BACK, AHEAD = timedelta(days=30), timedelta(days=400)
CANCELLED_FOR = timedelta(days=30)  # calendars that poll once a day must get to see that something was called off
POLL = timedelta(hours=1)
PLACES = (
    ResourceKind.PROCEDURE_ROOM,
    ResourceKind.FLUOROSCOPY_SUITE,
    ResourceKind.BENCH,
    ResourceKind.RECOVERY_BAY,
    ResourceKind.MRI_SCANNER,
)
Subject = Resource | Practitioner | Patient
SUBJECTS: dict[str, type[Subject]] = {kind._meta.label: kind for kind in (Resource, Practitioner, Patient)}


# What a higher app shows a patient beside their appointments, once they are treated: settings.FEED_SOURCES names it.
Source = Callable[[Patient, DateTimeTZRange], Iterable[Entry]]


def link_for(subject: Subject) -> Link:
    """The one feed of a resource, practitioner or patient. A person and their resource share one calendar."""
    if isinstance(subject, Resource):
        subject = subject.patient or subject.practitioner or subject
    return links.link_to(subject, purpose=Purpose.FEED, site=subject.site)


def address_of(link: Link) -> str:
    return settings.BASE_URL + reverse("feed", args=[links.token_of(link)])


def calendar(link: Link, *, at: datetime) -> bytes | None:
    """The feed behind `link`, or None if whom it was for is gone or no longer works here."""
    subject = _subject(link)
    if subject is None:
        return None
    window = DateTimeTZRange(at - BACK, at + AHEAD)
    if isinstance(subject, Patient):
        with languages.speaking(subject.language):
            entries = [*_visits(subject, window, at=at), *_afterwards(subject, window)]
            return _written(gettext("Appointments"), subject.site, entries)
    if isinstance(subject, Resource):
        return _written(subject.name, subject.site, _taken(subject, window, summary="Reserved", at=at))
    resource = Resource.objects.filter(practitioner=subject).first()
    entries = _taken(resource, window, summary="Appointment", at=at) if resource else []
    return _written(subject.name, subject.site, entries)


def etag(calendar: bytes) -> str:
    """A strong validator: the same only for the same bytes."""
    return f'"{hashlib.sha256(calendar).hexdigest()}"'


def _subject(link: Link) -> Subject | None:
    kind = SUBJECTS.get(link.about)
    rows = kind._default_manager.filter(pk=link.about_id).select_related("site") if kind else None
    if rows is not None and kind is Patient:
        rows = rows.annotate(treated=Exists(Episode.objects.filter(patient=OuterRef("pk"), injected=True)))
    found = rows.first() if rows is not None else None
    if found is None or not getattr(found, "active", True):
        return None
    if isinstance(found, Practitioner) and found.user and not found.user.is_active:
        return None
    return found


# What is in it


def _visits(patient: Patient, window: DateTimeTZRange, *, at: datetime) -> list[Entry]:
    """One entry per appointment, from coming to leaving: a patient needs no more."""
    appointments = (
        Appointment.objects.filter(Q(status__in=APPOINTMENT_LIVE) | Q(changed_at__gte=at - CANCELLED_FOR))
        .filter(episode__patient=patient, during__overlap=window)
        .select_related("site")
        .annotate(sequence=Sum("steps__sequence", default=0))  # never falls, and rises when any step's does
    )
    return [entry_of(row, sequence=row.sequence) for row in appointments]


def _afterwards(patient: Patient, window: DateTimeTZRange) -> list[Entry]:
    """What other parts of the service show a treated patient. Who is not is spared the questions."""
    if not getattr(patient, "treated", False):
        return []
    sources: list[Source] = [import_string(name) for name in settings.FEED_SOURCES]
    return [entry for source in sources for entry in source(patient, window)]


def uid_of(kind: str, key: str) -> uuid.UUID:
    """A uid for what has none of its own: always the same, and nobody can guess from it what it stands for."""
    return uuid.UUID(bytes=salted_hmac(kind, key, secret=settings.LINK_KEY).digest()[:16])


def _taken(resource: Resource, window: DateTimeTZRange, *, summary: str, at: datetime) -> list[Entry]:
    """One entry per step that takes or took the resource, and one per closure."""
    rows = list(
        Reservation.objects.filter(resource=resource, during__overlap=window)
        .exclude(kind=ReservationKind.TURNOVER)
        .filter(
            Q(live=True) | Q(step__changed_at__gte=at - CANCELLED_FOR) | Q(closure__reopened_at__gte=at - CANCELLED_FOR)
        )
        .select_related("step__appointment", "closure")
        .order_by("live", "pk")
    )
    # A step that was moved about has several rows here: the live one counts, else the one released last.
    steps = {row.step_id: row for row in rows if row.step_id}
    places = _places(steps)
    entries = [_step_entry(row, summary, [*places[step_id], resource.site.name]) for step_id, row in steps.items()]
    return entries + [_closure_entry(row.closure, resource.site.name) for row in rows if row.closure]


def _step_entry(row: Reservation, summary: str, location: Iterable[str]) -> Entry:
    step = row.step
    assert step is not None  # noqa: S101 - only rows of steps come here
    return Entry(
        uid=step.pk,
        start=row.during.lower,
        end=row.during.upper,
        sequence=step.sequence,
        changed_at=step.changed_at,
        status=status_of(step.appointment, live=row.live),
        summary=summary,
        location=", ".join(location),
    )


def _closure_entry(closure: Closure, location: str) -> Entry:
    reopened = closure.reopened_at is not None
    return Entry(
        uid=uid_of("scheduling.closure", str(closure.pk)),
        start=closure.during.lower,
        end=closure.during.upper,
        sequence=int(reopened),
        changed_at=closure.reopened_at or closure.closed_at,
        status=CANCELLED if reopened else CONFIRMED,
        summary="Closed",
        location=location,
    )


def _places(step_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, list[str]]:
    rooms = Reservation.objects.filter(
        step__in=list(step_ids), live=True, kind=ReservationKind.STEP, resource__kind__in=PLACES
    )
    names = defaultdict(list)
    for step_id, name in rooms.order_by("resource__name").values_list("step_id", "resource__name"):
        names[step_id].append(name)
    return names


# How it is written


def _written(name: str, site: Site, entries: Iterable[Entry]) -> bytes:
    feed = Calendar()
    feed.add("PRODID", "-//Pulposus//Calendar//EN")
    feed.add("VERSION", "2.0")
    for field in ("NAME", "X-WR-CALNAME"):
        feed.add(field, clean(name))
    feed.add("X-WR-TIMEZONE", site.time_zone)  # only how to show it: every instant below is UTC
    feed.add("REFRESH-INTERVAL", POLL, parameters={"VALUE": "DURATION"})
    feed.add("X-PUBLISHED-TTL", "PT1H")
    for entry in sorted(entries, key=lambda entry: (plain(entry.start).isoformat(), entry.uid)):
        feed.add_component(event_of(entry))
    return feed.to_ical()
