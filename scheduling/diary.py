"""The diary of every room, device and person: reservations into the database, and who has them.

Nothing else writes a Reservation. Whoever writes locks the appointment first, then every resource it touches in one
statement, then the rest; the exclusion constraint would stop a double booking without that, but with a deadlock instead
of an answer.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime

from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.models import Exists, OuterRef, Q, QuerySet

from clinic.clock import day_bounds, spoken_range
from clinic.models import Patient, Site
from clinic.status import StepRefused
from scheduling import availability, slots
from scheduling.chains import Taking
from scheduling.models import Appointment, AppointmentStep, Closure, Reservation, Resource
from scheduling.models.appointment import ONE_RESERVATION, ReservationKind
from scheduling.models.protocol import ResourceKind, Visit
from scheduling.states import AppointmentStatus

HOLDERS = {Visit.HARVEST: "a harvest day", Visit.PROCEDURE: "a procedure day", Visit.MRI: "an MRI"}
LOCK_TIMEOUT = "3s"
GIVEN_UP = {"40P01", "40001", "55P03"}  # deadlock detected, serialization failure, lock not available
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


def lock(resource_ids: Collection[int]) -> dict[int, Resource]:
    """Queue behind whoever is booking any of these, in one statement and one order, so that nobody deadlocks."""
    return _locked(Q(pk__in=resource_ids))


def lock_with(patient: Patient, resource_ids: Collection[int]) -> tuple[Resource, dict[int, Resource]]:
    """These, and the patient as something that can be in one place at a time: made when first needed, without a name.
    Whoever makes it has all other locks already, and so never waits for the one who waits for them."""
    rows = _locked(Q(pk__in=resource_ids) | Q(patient=patient))
    own = next((row for row in rows.values() if row.patient_id == patient.pk), None)
    if own is None:
        made = Resource(patient=patient, site=patient.site, kind=ResourceKind.PATIENT, name="The patient")
        Resource.objects.bulk_create([made], ignore_conflicts=True)
        (own,) = _locked(Q(patient=patient)).values()
    return own, rows | {own.pk: own}


def _locked(wanted: Q) -> dict[int, Resource]:
    rows = Resource.objects.filter(wanted).order_by("pk").select_related("site")
    return {row.pk: row for row in rows.select_for_update(of=("self",), no_key=True)}


def lapsed_on(resource_ids: Collection[int], *, at: datetime) -> QuerySet[Appointment]:
    """Holds that have run out and still sit on these resources."""
    here = Reservation.objects.filter(step__appointment=OuterRef("pk"), resource__in=resource_ids, live=True)
    return lapsed(at=at).filter(Exists(here))


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
        spans = [
            (ReservationKind.TURNOVER, taking.taken_from, taking.start),
            (ReservationKind.STEP, taking.start, taking.end),
            (ReservationKind.TURNOVER, taking.end, taking.free_again),
        ]
        rows += [
            Reservation(
                resource=taking.resource, during=DateTimeTZRange(start, end), kind=kind, step=step, role=taking.role
            )
            for kind, start, end in spans
            if start < end
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
    spans: dict[object, list[DateTimeTZRange]] = defaultdict(list)
    seats: dict[object, Reservation] = {}
    for row in Reservation.objects.filter(step__in=steps, resource=resource, live=True):
        spans[row.step_id].append(row.during)
        if row.kind == ReservationKind.STEP:
            seats[row.step_id] = row
    return [
        Taking(
            place,
            filled_by,
            seat.role,
            min(during.lower for during in spans[step.pk]),
            seat.during.lower,
            seat.during.upper,
            max(during.upper for during in spans[step.pk]),
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
    wanted = ((taking.resource.pk, DateTimeTZRange(taking.taken_from, taking.free_again)) for taking in taken)
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
    if reservation.kind != ReservationKind.TURNOVER:
        return holder
    before = reservation.during.upper <= reservation.step.during.lower
    return f"getting ready for {holder}" if before else f"turnover after {holder}"


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


def check_open(site: Site, taken: Collection[Taking]) -> None:
    """Raise StepRefused if the clinic, or one of those needed, is closed at the time it is needed."""
    begins, ends = min(taking.taken_from for taking in taken), max(taking.free_again for taking in taken)
    horizon = slots.Horizon.spanning(begins, ends)
    hours = availability.Hours(site).opening(
        {taking.resource.pk: taking.resource for taking in taken}.values(), horizon
    )
    for taking in taken:
        if horizon.mask(taking.taken_from, taking.free_again, outward=True) & ~hours[taking.resource.pk]:
            when = spoken_range(taking.taken_from, taking.free_again, site.zone)
            raise StepRefused(f"{taking.resource} is outside opening hours on {when}. Choose another time.")
