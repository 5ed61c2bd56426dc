"""The diary of every room, device and person: free time out of the database, reservations into it.

Nothing else writes a Reservation. Whoever writes locks the appointment first, then every resource it touches in one
statement, then the rest; the exclusion constraint would stop a double booking without that, but with a deadlock instead
of an answer.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta

from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.models import BigIntegerField, Exists, F, OuterRef, QuerySet
from django.db.models.functions import Cast, Extract

from clinic.clock import at_local, day_bounds, local_date, spoken_range
from clinic.models import Patient, Site
from clinic.status import StepRefused
from scheduling import slots
from scheduling.chains import Taking
from scheduling.models import Appointment, AppointmentStep, Closure, Holiday, OpeningHours, Reservation, Resource
from scheduling.models.appointment import ONE_RESERVATION, ReservationKind
from scheduling.models.protocol import ResourceKind, Visit
from scheduling.states import AppointmentStatus

UNREGISTERED = "patient"  # the patient's unit in a search, until a first booking makes the resource
HOLDERS = {Visit.HARVEST: "a harvest day", Visit.PROCEDURE: "a procedure day", Visit.MRI: "an MRI"}
LOCK_TIMEOUT = "3s"
GIVEN_UP = {"40P01", "40001", "55P03"}  # deadlock detected, serialization failure, lock not available
SECONDS_A_TICK = slots.TICK_MINUTES * 60
IN_THE_WAY = """
SELECT r.id FROM unnest(%s::bigint[], %s::tstzrange[]) AS wanted(resource_id, during)
  JOIN scheduling_reservation r ON r.resource_id = wanted.resource_id AND r.during && wanted.during
 WHERE r.live ORDER BY r.during, r.id LIMIT 1
"""


class TimeTaken(StepRefused):
    """Somebody has it already. It says what, when and whose time it is, in words and as facts, and never a patient's
    name."""

    code = "time_taken"

    def __init__(self, sentence: str, by: Reservation | None = None) -> None:
        super().__init__(sentence)
        self.resource = by and by.resource
        self.during = by and by.during
        self.holder = whose(by) if by else ""
        self.facts = {
            "resource": by and {"id": by.resource.pk, "kind": by.resource.kind, "name": str(by.resource)},
            "during": by and {"start": by.during.lower, "end": by.during.upper},
            "holder": self.holder,
        }


class Busy(StepRefused):
    """Too many people at the same rows at once; nothing was changed."""

    code = "busy"


# Writing


@contextmanager
def one_commit() -> Iterator[None]:
    """All of it or none of it, waiting for a lock no longer than LOCK_TIMEOUT. Decorates every step that books."""
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            yield
    except OperationalError as error:
        if _sqlstate(error) in GIVEN_UP:
            raise Busy("Somebody else is booking the same people or rooms just now. Try again in a moment.") from error
        raise


def _sqlstate(error: Exception) -> str:
    return getattr(error.__cause__, "sqlstate", None) or ""


def breaks(error: IntegrityError, constraint: str) -> bool:
    """Whether it was this constraint that the database defended."""
    return getattr(getattr(error.__cause__, "diag", None), "constraint_name", None) == constraint


def patient_resource(patient: Patient) -> Resource:
    """The patient as something that can be in one place at a time; made when first needed, without a name."""
    return Resource.objects.get_or_create(
        patient=patient, defaults={"site": patient.site, "kind": ResourceKind.PATIENT, "name": "The patient"}
    )[0]


def lock(resource_ids: Collection[int]) -> dict[int, Resource]:
    """Queue behind whoever is booking any of these, in one statement and one order, so that nobody deadlocks."""
    rows = Resource.objects.filter(pk__in=resource_ids).order_by("pk").select_related("site")
    return {row.pk: row for row in rows.select_for_update(of=("self",), no_key=True)}


def lapsed_on(resource_ids: Collection[int], *, at: datetime) -> list[Appointment]:
    """Holds that have run out and still sit on these resources, locked. One that somebody is working on is left out."""
    here = Reservation.objects.filter(step__appointment=OuterRef("pk"), resource__in=resource_ids, live=True)
    return list(lapsed(at=at).filter(Exists(here)).order_by("pk").select_for_update(skip_locked=True, of=("self",)))


def lapsed(*, at: datetime) -> QuerySet[Appointment]:
    return Appointment.objects.filter(status=AppointmentStatus.HELD, held_until__lte=at)


def resources_of(appointment: Appointment) -> set[int]:
    rows = Reservation.objects.filter(step__appointment=appointment, live=True)
    return set(rows.values_list("resource_id", flat=True))


def reserve(appointment: Appointment, steps: list[AppointmentStep], taken: Iterable[Taking]) -> None:
    """Write the time of every resource of the appointment. Call with the resources locked."""
    rows = []
    for taking in taken:
        step = steps[taking.place]
        spans = [(ReservationKind.STEP, taking.start, taking.end)]
        if taking.free_again > taking.end:
            spans.append((ReservationKind.TURNOVER, taking.end, taking.free_again))
        rows += [
            Reservation(
                resource=taking.resource, during=DateTimeTZRange(start, end), kind=kind, step=step, role=taking.role
            )
            for kind, start, end in spans
        ]
    _write(rows, site=appointment.site)


def block(closure: Closure) -> None:
    """Write the time of a closure. Call with the resource locked."""
    row = Reservation(resource=closure.resource, during=closure.during, kind=ReservationKind.CLOSURE, closure=closure)
    _write([row], site=closure.resource.site)


def _write(rows: list[Reservation], *, site: Site) -> None:
    try:
        with transaction.atomic():
            Reservation.objects.bulk_create(rows)
    except IntegrityError as clash:
        if not breaks(clash, ONE_RESERVATION):
            raise
        taken = holder_of((row.resource_id, row.during) for row in rows)
        raise _taken(taken, site) from clash


def release(appointment: Appointment) -> None:
    """Free its time at once. The rows stay for the calendars that showed them; they block nothing."""
    Reservation.objects.filter(step__appointment=appointment, live=True).update(live=False)


def seats_of(resource: Resource, steps: Sequence[AppointmentStep], *, filled_by: Resource) -> list[Taking]:
    """The seats that a resource has in these steps, as somebody else would take them."""
    rows = Reservation.objects.filter(step__in=steps, resource=resource, live=True)
    free_again = {row.step_id: row.during.upper for row in rows if row.kind == ReservationKind.TURNOVER}
    seats = {row.step_id: row for row in rows if row.kind == ReservationKind.STEP}
    return [
        Taking(
            place,
            filled_by,
            seat.role,
            seat.during.lower,
            seat.during.upper,
            free_again.get(step.pk, seat.during.upper),
        )
        for place, step in enumerate(steps)
        if (seat := seats.get(step.pk))
    ]


def give_up_seats(resource: Resource, steps: Iterable[AppointmentStep]) -> None:
    Reservation.objects.filter(step__in=list(steps), resource=resource, live=True).update(live=False)


def unblock(closure: Closure) -> None:
    Reservation.objects.filter(closure=closure, live=True).update(live=False)


def check_free(taken: Collection[Taking]) -> None:
    """Raise TimeTaken if somebody has any of it. Call with the resources locked: then nobody slips in between, and the
    constraint is there for whoever forgets."""
    wanted = ((taking.resource.pk, DateTimeTZRange(taking.start, taking.free_again)) for taking in taken)
    if holder := holder_of(wanted):
        raise _taken(holder, holder.resource.site)


def holder_of(wanted: Iterable[tuple[int, DateTimeTZRange]]) -> Reservation | None:
    """The first live reservation in the way of any of these. One statement whatever is wanted, so that the server plans
    it once: every booking asks this while others wait."""
    resources, times = zip(*wanted, strict=True)
    with connection.cursor() as cursor:
        cursor.execute(IN_THE_WAY, [list(resources), list(times)])
        found = cursor.fetchone()
    related = ("resource__site", "closure", "step__appointment")
    return Reservation.objects.select_related(*related).get(pk=found[0]) if found else None


def _taken(holder: Reservation | None, site: Site) -> TimeTaken:
    if holder is None:  # given back before we could look
        return TimeTaken("Somebody had that time a moment ago. Search again.")
    when = spoken_range(holder.during.lower, holder.during.upper, site.zone)
    return TimeTaken(f"{holder.resource} is taken on {when}: {whose(holder)}. Search again for a free time.", holder)


def whose(reservation: Reservation) -> str:
    """Who has the time, without telling which patient."""
    if reservation.step is None:
        return f"closed, {reservation.closure.reason}" if reservation.closure else "closed"
    appointment = reservation.step.appointment
    holder = HOLDERS[Visit(appointment.visit)]
    if appointment.status == AppointmentStatus.HELD:
        holder += ", held for a few minutes"
    return f"turnover after {holder}" if reservation.kind == ReservationKind.TURNOVER else holder


def holders(site: Site, day: date, *, kind: str, capability: str = "") -> list[str]:
    """Who has the resources of a kind on one day, in words: "C-arm 1: a procedure day, Tue 12 May ..."."""
    rows = Reservation.objects.filter(
        resource__site=site,
        resource__kind=kind,
        live=True,
        during__overlap=DateTimeTZRange(*day_bounds(day, site.zone)),
    ).select_related("resource", "closure", "step__appointment")
    if capability:
        rows = rows.filter(resource__capabilities__contains=[capability])
    return [
        f"{row.resource}: {whose(row)}, {spoken_range(row.during.lower, row.during.upper, site.zone)}"
        for row in rows.order_by("resource__name", "during")
    ]


# Reading


def units_for(
    site: Site,
    horizon: slots.Horizon,
    kinds: Collection[str],
    *,
    patient: Patient | None = None,
    ignore: Appointment | None = None,
    at: datetime,
    weekdays: Collection[int] | None = None,
    closing: tuple[Resource, DateTimeTZRange] | None = None,
) -> list[slots.Unit]:
    """Everything of these kinds at the site, and the patient, with the ticks of `horizon` in which each is free.

    `ignore` is an appointment whose own time counts as free (it is about to move), `weekdays` (Monday is 0) the only
    days that count as open, `closing` a resource that is about to be closed.
    """
    resources = list(Resource.objects.filter(site=site, kind__in=kinds, active=True, patient__isnull=True))
    if patient is not None:
        resources += Resource.objects.filter(patient=patient)
    hours = opening(site, resources, horizon, weekdays=weekdays)
    taken = _taken_ticks(resources, horizon, ignore=ignore, at=at)
    if closing is not None:
        taken[closing[0].pk].append((horizon.tick_down(closing[1].lower), horizon.tick_up(closing[1].upper)))
    units = [
        slots.Unit(
            str(resource.pk),
            resource.kind,
            frozenset(resource.capabilities),
            hours[resource.pk] & ~_bits(taken[resource.pk], horizon),
            load=len(taken[resource.pk]),
        )
        for resource in resources
    ]
    if patient is not None and not any(unit.kind == ResourceKind.PATIENT for unit in units):
        always = _on_days(site, horizon, weekdays)
        units.append(slots.Unit(UNREGISTERED, ResourceKind.PATIENT, frozenset(), always))
    return units


def opening(
    site: Site,
    resources: Iterable[Resource],
    horizon: slots.Horizon,
    *,
    weekdays: Collection[int] | None = None,
) -> dict[int, int]:
    """The ticks in which each resource is open: its own hours if it has any, else the site's. Patients always are."""
    rows: dict[int | None, list[OpeningHours]] = defaultdict(list)
    for row in OpeningHours.objects.filter(site=site):
        rows[row.resource_id].append(row)
    days = [day for day in _working_days(site, horizon) if weekdays is None or day.weekday() in weekdays]
    bits = {owner: _open_ticks(site, hours, horizon, days) for owner, hours in rows.items()}
    always = _on_days(site, horizon, weekdays)
    return {
        resource.pk: always if resource.patient_id else bits.get(resource.pk, bits.get(None, 0))
        for resource in resources
    }


def check_open(site: Site, taken: Collection[Taking]) -> None:
    """Raise StepRefused if the clinic, or one of those needed, is closed at the time it is needed."""
    horizon = slots.Horizon.spanning(min(taking.start for taking in taken), max(taking.free_again for taking in taken))
    hours = opening(site, {taking.resource.pk: taking.resource for taking in taken}.values(), horizon)
    for taking in taken:
        if horizon.mask(taking.start, taking.free_again, outward=True) & ~hours[taking.resource.pk]:
            when = spoken_range(taking.start, taking.free_again, site.zone)
            raise StepRefused(f"{taking.resource} is outside opening hours on {when}. Choose another time.")


def _days(site: Site, horizon: slots.Horizon) -> Iterator[date]:
    day, last = local_date(horizon.start, site.zone), local_date(horizon.end, site.zone)
    while day <= last:
        yield day
        day += timedelta(days=1)


def _working_days(site: Site, horizon: slots.Horizon) -> Iterator[date]:
    first, last = (local_date(moment, site.zone) for moment in (horizon.start, horizon.end))
    closed = set(Holiday.objects.filter(site=site, day__range=(first, last)).values_list("day", flat=True))
    return (day for day in _days(site, horizon) if day not in closed)


def _open_ticks(site: Site, hours: Iterable[OpeningHours], horizon: slots.Horizon, days: Iterable[date]) -> int:
    by_weekday: dict[int, list[OpeningHours]] = defaultdict(list)
    for row in hours:
        by_weekday[row.weekday].append(row)
    return horizon.free(
        (at_local(day, row.opens, site.zone), at_local(day, row.closes, site.zone))
        for day in days
        for row in by_weekday[day.weekday()]
        if row.holds_on(day)
    )


def _on_days(site: Site, horizon: slots.Horizon, weekdays: Collection[int] | None) -> int:
    if weekdays is None:
        return horizon.all
    return horizon.free(day_bounds(day, site.zone) for day in _days(site, horizon) if day.weekday() in weekdays)


def _taken_ticks(
    resources: Iterable[Resource], horizon: slots.Horizon, *, ignore: Appointment | None, at: datetime
) -> Mapping[int, list[tuple[int, int]]]:
    """The busy ticks of each resource. Whole numbers come out of the database: a year of timestamps takes longer to
    read than to search. A hold that has run out is free, whether or not the sweep has been by."""
    rows = Reservation.objects.filter(
        live=True,
        resource__in=[resource.pk for resource in resources],
        during__overlap=DateTimeTZRange(horizon.start, horizon.end),
    ).exclude(step__appointment__status=AppointmentStatus.HELD, step__appointment__held_until__lte=at)
    if ignore is not None:
        rows = rows.exclude(step__appointment=ignore)
    start = int(horizon.start.timestamp())
    taken: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for resource, lower, upper in rows.values_list(
        "resource_id", _epoch(F("during__startswith")), _epoch(F("during__endswith"))
    ):
        taken[resource].append(((lower - start) // SECONDS_A_TICK, -((start - upper) // SECONDS_A_TICK)))
    return taken


def _epoch(instant: F) -> Cast:
    return Cast(Extract(instant, "epoch"), BigIntegerField())


def _bits(spans: Iterable[tuple[int, int]], horizon: slots.Horizon) -> int:
    bits = 0
    for lower, upper in spans:
        first, last = max(lower, 0), min(upper, horizon.ticks)
        if last > first:
            bits |= ((1 << (last - first)) - 1) << first
    return bits
