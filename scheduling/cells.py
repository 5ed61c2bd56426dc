"""Which vial is whose: allogeneic units given to an appointment first-expiry-first-out, and given back; until when a
thawed one may be used; which days and units need somebody to look at them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.core.exceptions import ValidationError
from django.db.models import (
    Count,
    DateTimeField,
    DurationField,
    Exists,
    ExpressionWrapper,
    F,
    Func,
    IntegerField,
    Model,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
)
from django.db.models.functions import Coalesce, Least

from clinic.clock import spoken
from clinic.models import Site
from clinic.status import StepRefused, move
from clinic.text import clean
from scheduling.models import Appointment, AppointmentStep, Lot, Product, Protocol, Unit
from scheduling.models.product import CellSource
from scheduling.models.protocol import StepCode, Visit
from scheduling.states import UNIT_MOVES, AppointmentStatus, LotStatus, UnitStatus

IN_HAND = (UnitStatus.ALLOCATED, UnitStatus.THAWED, UnitStatus.USED)
IN_STORE = (UnitStatus.RECEIVED, UnitStatus.ALLOCATED)
USABLE_UNTIL = Least("lot__expires_at", "shipper_hold_until")  # PostgreSQL's LEAST passes over nulls
AHEAD = (AppointmentStatus.BOOKED, AppointmentStatus.CONFIRMED, AppointmentStatus.ARRIVED)
MINUTE = Value(timedelta(minutes=1))


class NoUnits(StepRefused):
    """There are not enough vials that may be used at that time."""

    code = "no_units"


class UnitUnfit(StepRefused):
    """That vial may not be given to that day, whoever asks for it."""

    code = "unit_unfit"


class Hindrance(NamedTuple):
    """Why a unit may not be given to a day: in a word, to count by, and in a sentence about the one unit."""

    word: str
    sentence: str


def needed(protocol: Protocol, *, visit: str, levels: int) -> int:
    """How many units the visit uses up."""
    if visit != Visit.PROCEDURE or protocol.product.source != CellSource.ALLOGENEIC:
        return 0
    return protocol.units_per_level * levels


def in_stock(protocol: Protocol, site: Site) -> QuerySet[Unit]:
    """Units of the protocol's product and dose that could be given to somebody, first-expiry-first-out."""
    free = Unit.objects.filter(
        lot__product=protocol.product_id, lot__site=site, lot__status=LotStatus.RELEASED, status=UnitStatus.RECEIVED
    )
    if protocol.dose_million is not None:
        free = free.filter(lot__dose_million=protocol.dose_million)
    return free.order_by(USABLE_UNTIL, "received_at", "identifier")


def usable_until(protocol: Protocol, site: Site, *, count: int, besides: Appointment | None = None) -> datetime | None:
    """The latest injection end for which `count` units are in stock, or held by the appointment `besides`; None if
    there are not so many."""
    latest = in_stock(protocol, site).order_by(USABLE_UNTIL.desc())
    ends = list(latest.values_list(USABLE_UNTIL, flat=True)[:count])
    if besides is not None:
        own = of(besides).filter(status=UnitStatus.ALLOCATED, lot__status=LotStatus.RELEASED)
        ends += own.values_list(USABLE_UNTIL, flat=True)
    return sorted(ends, reverse=True)[count - 1] - margin(protocol.product) if len(ends) >= count else None


def margin(product: Product) -> timedelta:
    return timedelta(minutes=product.expiry_margin_minutes)


def of(appointment: Appointment) -> QuerySet[Unit]:
    """The units the appointment has now; discarded ones keep its name but are no longer its units."""
    return appointment.units.filter(status__in=IN_HAND).order_by("identifier")


def wanted_by(appointment: Appointment) -> int:
    episode = appointment.episode
    return needed(episode.protocol, visit=appointment.visit, levels=len(episode.target_levels))


def needed_until(appointment: Appointment) -> datetime:
    """Its units must be in date until its injection has ended, and for the margin that the product asks for."""
    ends: datetime = appointment.steps.get(code=StepCode.INJECTION).during.upper
    return ends + margin(appointment.episode.protocol.product)


# Giving and taking back. Call inside a transaction, with the appointment locked.


def lock_lots(product: Product, site: Site) -> None:
    """Whoever gives, recalls or quarantines queues here, all lots in one order: each sees what the one before left, N
    units go to N patients, and nobody deadlocks."""
    list(Lot.objects.filter(product=product, site=site).order_by("pk").select_for_update(no_key=True))


def fitting(appointment: Appointment) -> QuerySet[Unit]:
    """The units that may be given to the appointment, the one to give next first."""
    until = needed_until(appointment)
    in_date = Q(lot__expires_at__gte=until)
    held = Q(shipper_hold_until__isnull=True) | Q(shipper_hold_until__gte=until)
    return in_stock(appointment.episode.protocol, appointment.site).filter(in_date & held)


def allocate(appointment: Appointment, *, by: str, at: datetime) -> list[Unit]:
    """Give the appointment the units it still lacks."""
    wanted = wanted_by(appointment)
    lacking = wanted - of(appointment).count() if wanted else 0
    if lacking <= 0:
        return []
    lock_lots(appointment.episode.protocol.product, appointment.site)
    units = list(fitting(appointment)[:lacking])
    if len(units) < lacking:
        raise NoUnits(_too_few(appointment, found=len(units), lacking=lacking))
    return [
        move(unit, UnitStatus.ALLOCATED, moves=UNIT_MOVES, by=by, at=at, also={"appointment": appointment})
        for unit in units
    ]


def _too_few(appointment: Appointment, *, found: int, lacking: int) -> str:
    """What is missing, and what there is but may not be given: each unit under the first reason against it."""
    product, until = appointment.episode.protocol.product, needed_until(appointment)
    stored = Unit.objects.filter(lot__product=product, lot__site=appointment.site, status__in=IN_STORE)
    first = (next(hindrances(unit, appointment, until=until), None) for unit in stored.select_related("lot"))
    reasons = Counter(hindrance.word for hindrance in first if hindrance)
    there_is = ", ".join(f"{count} {word}" for word, count in sorted(reasons.items()))
    return (
        f"Only {found} of {lacking} units of {product} are released, unreserved and in date until "
        f"{spoken(until, appointment.site.zone)}. "
        + (f"Not to be given: {there_is}. " if there_is else "")
        + "Receive and release more, or choose another day."
    )


def hindrances(unit: Unit, appointment: Appointment, *, until: datetime) -> Iterator[Hindrance]:
    """All that stands against giving this unit to the appointment, which needs it `until`; none if it is `fitting`."""
    lot, protocol, zone = unit.lot, appointment.episode.protocol, appointment.site.zone
    hold, dose = unit.shipper_hold_until, protocol.dose_million
    if lot.product_id != protocol.product_id:
        yield Hindrance("of another product", f"it is {lot.product}")
    if lot.site_id != appointment.site_id:
        yield Hindrance("at another clinic", f"it is kept at {lot.site}")
    if lot.status != LotStatus.RELEASED:
        yield Hindrance(lot.get_status_display().lower(), f"its lot is {lot.get_status_display().lower()}")
    if lot.expires_at < until:
        yield Hindrance("not in date until then", f"its lot expires on {spoken(lot.expires_at, zone)}")
    if hold is not None and hold < until:
        yield Hindrance("not held by the shipper until then", f"its shipper holds it until {spoken(hold, zone)}")
    if dose is not None and lot.dose_million != dose:
        has = "an unknown number of" if lot.dose_million is None else f"{lot.dose_million.normalize():f}"
        yield Hindrance("of another dose", f"it holds {has} million cells, and {dose.normalize():f} are wanted")
    if unit.status != UnitStatus.RECEIVED:
        yield Hindrance("reserved", f"it is {unit.get_status_display().lower()}")


def choose(appointment: Appointment, unit: Unit, *, reason: str, by: str, at: datetime) -> Unit:
    """Give the appointment this very unit. It must be as good as any: the order is what a person may overrule, never
    an expiry, a quarantine or a recall."""
    wanted = wanted_by(appointment)
    if not wanted:
        raise StepRefused(f"{appointment} takes no units from store.")
    lock_lots(appointment.episode.protocol.product, appointment.site)
    unit = Unit.objects.select_related("lot__site", "lot__product").get(pk=unit.pk)
    if unit.appointment_id == appointment.pk and unit.status in IN_HAND:
        raise StepRefused(f"Unit {unit} belongs to this day already.")
    if against := list(hindrances(unit, appointment, until=needed_until(appointment))):
        why = ", and ".join(hindrance.sentence for hindrance in against)
        raise UnitUnfit(f"Unit {unit} cannot be given to this day: {why}.")
    own = list(of(appointment).filter(status=UnitStatus.ALLOCATED).order_by(USABLE_UNTIL, "received_at", "identifier"))
    if of(appointment).count() >= wanted:
        if not own:
            raise StepRefused("Every unit of this day is thawed already. Discard one before you choose another.")
        put_back(own[-1], by=by, at=at)
    also = {"appointment": appointment, "chosen_because": reason}
    return move(unit, UnitStatus.ALLOCATED, moves=UNIT_MOVES, by=by, at=at, reason=f"Chosen: {reason}", also=also)


def put_back(unit: Unit, *, by: str, at: datetime, reason: str = "") -> Unit:
    also = {"appointment": None, "chosen_because": ""}
    return move(unit, UnitStatus.RECEIVED, moves=UNIT_MOVES, by=by, at=at, reason=reason, also=also)


def release(appointment: Appointment, *, by: str, at: datetime) -> None:
    """Put the appointment's units back into store. A thawed one cannot go back: say what became of it first."""
    if thawed := of(appointment).filter(status=UnitStatus.THAWED).first():
        raise StepRefused(f"Unit {thawed} is thawed and cannot go back into store. Record that it was discarded first.")
    for unit in of(appointment).filter(status=UnitStatus.ALLOCATED):
        put_back(unit, by=by, at=at)


# The clock of a unit. Nothing of it is stored: the thaw is counted back from the injection, the use-by from the thaw.


def thaw_at(appointment: Appointment) -> datetime | None:
    """When the thaw must start for the injection to start as booked; None if the product is not thawed."""
    minutes = appointment.episode.protocol.product.thaw_minutes
    injection = appointment.steps.filter(code=StepCode.INJECTION).first()
    if minutes is None or injection is None:
        return None
    starts: datetime = injection.during.lower
    return starts - timedelta(minutes=minutes)


def use_by(unit: Unit) -> datetime | None:
    """The last moment at which the injection of a thawed unit may start; None if it is not thawed."""
    limit = unit.lot.product.post_thaw_limit_minutes
    if unit.thaw_started_at is None or limit is None:
        return None
    return unit.thaw_started_at + timedelta(minutes=limit)


def good_until(unit: Unit) -> datetime:
    """Its lot's expiry, or the end of its shipper's hold if that comes first."""
    return min(unit.lot.expires_at, unit.shipper_hold_until or unit.lot.expires_at)


def unusable(unit: Unit, *, at: datetime) -> str:
    """Why this unit must not go into a patient at that moment; "" if it may."""
    zone, hold = unit.lot.site.zone, unit.shipper_hold_until
    if unit.lot.status != LotStatus.RELEASED:
        return f"its lot is {unit.lot.get_status_display()}"
    if unit.lot.expires_at <= at:
        return f"its lot expired on {spoken(unit.lot.expires_at, zone)}"
    if hold is not None and unit.thaw_started_at is None and hold <= at:
        return f"its shipper held it until {spoken(hold, zone)}"
    return ""


# What needs somebody. Each is a question to the database, so a day is on its list in the moment that it is affected.


def _minutes(column: str) -> ExpressionWrapper:
    return ExpressionWrapper(F(column) * MINUTE, output_field=DurationField())


def lacking_units() -> QuerySet[Appointment]:
    """Booked procedure days with fewer units than they need that are good until the injection has ended: after a
    recall, a quarantine or a corrected expiry, or when a vial was broken."""
    levels = Func(F("episode__target_levels"), function="cardinality", output_field=IntegerField())
    injection = AppointmentStep.objects.filter(appointment=OuterRef("pk"), code=StepCode.INJECTION)
    ends = Subquery(injection.values("during__endswith")[:1], output_field=DateTimeField())
    needed_until = ExpressionWrapper(
        ends + _minutes("episode__protocol__product__expiry_margin_minutes"), output_field=DateTimeField()
    )
    until = OuterRef("needed_until")
    held = Q(shipper_hold_until__isnull=True) | Q(shipper_hold_until__gte=until)
    good = Q(status=UnitStatus.THAWED) | (Q(status=UnitStatus.ALLOCATED, lot__expires_at__gte=until) & held)
    theirs = Unit.objects.filter(good, lot__status=LotStatus.RELEASED, appointment=OuterRef("pk"))
    counted = theirs.order_by().values("appointment").annotate(count=Count("pk")).values("count")
    return (
        Appointment.objects.filter(
            visit=Visit.PROCEDURE, status__in=AHEAD, episode__protocol__product__source=CellSource.ALLOGENEIC
        )
        .annotate(needed_until=needed_until, units_needed=levels * F("episode__protocol__units_per_level"))
        .annotate(units_in_hand=Coalesce(Subquery(counted), 0))
        .filter(units_in_hand__lt=F("units_needed"))
        .order_by("during")
    )


def past_use_by(*, at: datetime) -> QuerySet[Unit]:
    """Thawed units that may not be injected any more, or will not when the injection starts as booked."""
    use_by = ExpressionWrapper(
        F("thaw_started_at") + _minutes("lot__product__post_thaw_limit_minutes"), output_field=DateTimeField()
    )
    thawed = Unit.objects.filter(status=UnitStatus.THAWED).annotate(use_by=use_by)
    late = AppointmentStep.objects.filter(
        appointment=OuterRef("appointment"), code=StepCode.INJECTION, during__startswith__gt=OuterRef("use_by")
    )
    return thawed.filter(Q(use_by__isnull=True) | Q(use_by__lt=at) | Exists(late)).order_by("use_by")


def in_shippers() -> QuerySet[Unit]:
    """Units still kept in the dry shipper they came in: each is used, or moved into storage, before its hold ends."""
    waiting = Unit.objects.filter(status__in=IN_STORE, shipper_hold_until__isnull=False)
    return waiting.exclude(lot__status=LotStatus.RECALLED).order_by("shipper_hold_until", "identifier")


# Identity: what both who prepare and who inject ask for.


def two_people(matched_by: Sequence[str]) -> str:
    """Both names of a two-person match, as they are kept; StepRefused unless two different people are named."""
    names = [clean(name) for name in matched_by]
    if len(names) != 2 or not all(names) or names[0].casefold() == names[1].casefold():
        raise StepRefused("Two different people must match patient and cells. Name both.")
    return " and ".join(names)


def check_fields(row: Model) -> None:
    """Raise StepRefused, naming the field, if a value cannot be kept."""
    names = {field.name: field.verbose_name for field in row._meta.concrete_fields}
    relations = [field.name for field in row._meta.concrete_fields if field.is_relation]
    try:
        row.clean_fields(exclude=relations)
    except ValidationError as wrong:
        said = [f"{names[name]}: {' '.join(texts)}" for name, texts in wrong.message_dict.items()]
        raise StepRefused("This cannot be recorded. " + " ".join(said)) from wrong
