"""When everybody and everything is free: opening hours less the diary, out of the database and into the search."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from datetime import date, datetime, timedelta
from functools import lru_cache
from struct import iter_unpack
from uuid import UUID

from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.models import Aggregate, BinaryField, Q, QuerySet

from clinic.clock import Zone, at_local, local_date
from clinic.models import Patient, Site
from scheduling import slots
from scheduling.models import Appointment, AppointmentStep, Holiday, OpeningHours, Reservation, Resource
from scheduling.models.protocol import ResourceKind
from scheduling.states import AppointmentStatus

UNREGISTERED = "patient"  # the patient's unit in a search, until a first booking makes the resource
SECONDS_A_TICK = slots.TICK_MINUTES * 60


class Roster:
    """Who and what a search may take, and when each is free: one question to the database for a stretch of time."""

    def __init__(
        self,
        site: Site,
        kinds: Collection[str],
        *,
        patient: Patient | None = None,
        ignore: Appointment | None = None,
        at: datetime,
        only: Collection[int] = (),
        closing: tuple[Resource, DateTimeTZRange] | None = None,
    ) -> None:
        """Everything of these kinds at the site, and the patient. Where `only` names some of a kind, nobody else of
        that kind is asked. `ignore` is an appointment whose own time counts as free (it is about to move), `closing` a
        resource that is about to be closed."""
        self.site, self.patient, self.closing = site, patient, closing
        wanted = Q(site=site, kind__in=kinds, active=True, patient__isnull=True)
        self.rows = Resource.objects.filter(wanted | Q(patient=patient) if patient else wanted)
        found = list(self.rows.order_by("pk"))
        named = {resource.kind for resource in found if resource.pk in only}
        self.resources = [resource for resource in found if resource.kind not in named or resource.pk in only]
        self.hours = Hours(site)
        self.void = _void(site, ignore=ignore, at=at)

    def units(self, horizon: slots.Horizon) -> list[slots.Unit]:
        """Each with the ticks of `horizon` in which it is free, and how many are taken as its load."""
        hours = self.hours.opening(self.resources, horizon)
        taken = _taken(self.rows, horizon, void=self.void)
        if self.closing:
            resource, during = self.closing
            closed = horizon.mask(during.lower, during.upper, outward=True)
            taken[resource.pk] = taken.get(resource.pk, 0) | closed
        units = []
        for resource in self.resources:
            busy = taken.get(resource.pk, 0)
            able = frozenset(resource.capabilities)
            units.append(
                slots.Unit(str(resource.pk), resource.kind, able, hours[resource.pk] & ~busy, load=busy.bit_count())
            )
        if self.patient and not any(unit.kind == ResourceKind.PATIENT for unit in units):
            units.append(slots.Unit(UNREGISTERED, ResourceKind.PATIENT, frozenset(), horizon.all))
        return units


class Hours:
    """When a site and what is in it are open: out of the database once, laid over any stretch of time."""

    def __init__(self, site: Site) -> None:
        self.zone = site.zone
        self.holidays = frozenset(Holiday.objects.filter(site=site).values_list("day", flat=True))
        self.rows: dict[int | None, list[OpeningHours]] = defaultdict(list)  # by whose they are; the site's: nobody's
        for row in OpeningHours.objects.filter(site=site):
            self.rows[row.resource_id].append(row)

    def opening(self, resources: Iterable[Resource], horizon: slots.Horizon) -> dict[int, int]:
        """The ticks in which each is open: in its own hours if it has any, else in the site's. Patients always are."""
        bits = {owner: self._open_ticks(rows, horizon) for owner, rows in self.rows.items()}
        return {
            resource.pk: horizon.all if resource.patient_id else bits.get(resource.pk, bits.get(None, 0))
            for resource in resources
        }

    def _open_ticks(self, rows: Iterable[OpeningHours], horizon: slots.Horizon) -> int:
        by_weekday: dict[int, list[OpeningHours]] = defaultdict(list)
        for row in rows:
            by_weekday[row.weekday].append(row)
        return horizon.free(
            (at_local(day, row.opens, self.zone), at_local(day, row.closes, self.zone))
            for day in days(self.zone, horizon)
            if day not in self.holidays
            for row in by_weekday[day.weekday()]
            if row.holds_on(day)
        )


def days(zone: Zone, horizon: slots.Horizon) -> Iterator[date]:
    """The local days that the horizon touches."""
    day, last = local_date(horizon.start, zone), local_date(horizon.end, zone)
    while day <= last:
        yield day
        day += timedelta(days=1)


def _void(site: Site, *, ignore: Appointment | None, at: datetime) -> list[UUID]:
    """The steps whose time does not count: of an appointment that is to move, and of holds that have run out, whether
    or not the sweep has been by."""
    lapsed = Q(appointment__site=site, appointment__status=AppointmentStatus.HELD, appointment__held_until__lte=at)
    wanted = lapsed | Q(appointment=ignore) if ignore else lapsed
    return list(AppointmentStep.objects.filter(wanted).order_by().values_list("pk", flat=True))


class Spans(Aggregate):
    """Ranges as pairs of whole numbers, the ticks since `zero` that each touches, four bytes a number. A year of them
    leaves the database in a tenth of the time that it takes as timestamps, row by row."""

    template = (
        "string_agg("
        f"int4send(floor(date_part('epoch', lower(%(expressions)s)) / {SECONDS_A_TICK})::int - %(zero)s) || "
        f"int4send(ceil(date_part('epoch', upper(%(expressions)s)) / {SECONDS_A_TICK})::int - %(zero)s), ''::bytea)"
    )
    output_field = BinaryField()


def _taken(resources: QuerySet[Resource], horizon: slots.Horizon, *, void: Collection[UUID]) -> dict[int, int]:
    """The busy ticks of each resource. The database is told which by what they are: a plan that is kept compares a list
    of ids one by one, for every row."""
    rows = Reservation.objects.filter(
        live=True,
        resource__in=resources.order_by().values("pk"),
        during__overlap=DateTimeTZRange(horizon.start, horizon.end),
    )
    if void:
        rows = rows.exclude(step__in=void)
    zero = int(horizon.start.timestamp()) // SECONDS_A_TICK
    spans = rows.order_by().values_list("resource_id").annotate(spans=Spans("during", zero=zero))
    return {resource: _ticks(horizon, bytes(packed)) for resource, packed in spans}


@lru_cache(maxsize=2048)
def _ticks(horizon: slots.Horizon, packed: bytes) -> int:
    """Whoever looks for a time looks again, with other wishes; most diaries have not changed meanwhile."""
    return horizon.bits(iter_unpack(">ii", packed))
