"""Which vial is whose: allogeneic units given to an appointment first-expiry-first-out, and given back."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.db.models import Count, F, Func, IntegerField, Model, Q, QuerySet
from django.db.models.functions import Least

from clinic.clock import spoken
from clinic.models import Site
from clinic.status import StepRefused, move
from clinic.text import clean
from scheduling.models import Appointment, Lot, Product, Protocol, Unit
from scheduling.models.product import CellSource
from scheduling.models.protocol import StepCode, Visit
from scheduling.states import UNIT_MOVES, AppointmentStatus, LotStatus, UnitStatus

IN_HAND = (UnitStatus.ALLOCATED, UnitStatus.THAWED, UnitStatus.USED)
USABLE_UNTIL = Least("lot__expires_at", "safe_until")  # PostgreSQL's LEAST passes over nulls
AHEAD = (AppointmentStatus.BOOKED, AppointmentStatus.CONFIRMED, AppointmentStatus.ARRIVED)


class NoUnits(StepRefused):
    """There are not enough vials that may be used at that time."""

    code = "no_units"


def needed(protocol: Protocol, *, visit: str, levels: int) -> int:
    """How many units the visit uses up."""
    if visit != Visit.PROCEDURE or protocol.product.source != CellSource.ALLOGENEIC:
        return 0
    return protocol.units_per_level * levels


def in_stock(product: Product, site: Site) -> QuerySet[Unit]:
    """Units that could be given to somebody, first-expiry-first-out."""
    free = Unit.objects.filter(
        lot__product=product, lot__site=site, lot__status=LotStatus.RELEASED, status=UnitStatus.RECEIVED
    )
    return free.order_by(USABLE_UNTIL, "received_at", "identifier")


def usable_until(product: Product, site: Site, *, count: int, besides: Appointment | None = None) -> datetime | None:
    """The latest injection end for which `count` units are in stock, or held by the appointment `besides`; None if
    there are not so many."""
    ends = list(in_stock(product, site).order_by(USABLE_UNTIL.desc()).values_list(USABLE_UNTIL, flat=True)[:count])
    if besides is not None:
        own = of(besides).filter(status=UnitStatus.ALLOCATED, lot__status=LotStatus.RELEASED)
        ends += own.values_list(USABLE_UNTIL, flat=True)
    return sorted(ends, reverse=True)[count - 1] - margin(product) if len(ends) >= count else None


def margin(product: Product) -> timedelta:
    return timedelta(minutes=product.expiry_margin_minutes)


def of(appointment: Appointment) -> QuerySet[Unit]:
    """The units the appointment has now; discarded ones keep its name but are no longer its units."""
    return appointment.units.filter(status__in=IN_HAND).order_by("identifier")


def allocate(appointment: Appointment, *, by: str, at: datetime) -> list[Unit]:
    """Give the appointment the units it still lacks, in date until after its injection. Call inside a transaction."""
    episode = appointment.episode
    product = episode.protocol.product
    wanted = needed(episode.protocol, visit=appointment.visit, levels=len(episode.target_levels))
    lacking = wanted - of(appointment).count() if wanted else 0
    if lacking <= 0:
        return []
    ends = appointment.steps.get(code=StepCode.INJECTION).during.upper
    # Whoever allocates or recalls queues on the lots: each sees what the one before left, and N units go to N.
    list(Lot.objects.filter(product=product, site=appointment.site).order_by("pk").select_for_update(no_key=True))
    until = ends + margin(product)
    in_date = Q(lot__expires_at__gte=until) & (Q(safe_until__isnull=True) | Q(safe_until__gte=until))
    units = list(in_stock(product, appointment.site).filter(in_date)[:lacking])
    if len(units) < lacking:
        raise NoUnits(
            f"Only {len(units)} of {lacking} units of {product} are released, unreserved and in date until "
            f"{spoken(until, appointment.site.zone)}. Receive and release more, or choose another day."
        )
    return [
        move(unit, UnitStatus.ALLOCATED, moves=UNIT_MOVES, by=by, at=at, also={"appointment": appointment})
        for unit in units
    ]


def release(appointment: Appointment, *, by: str, at: datetime) -> None:
    """Put the appointment's units back into store. A thawed one cannot go back: say what became of it first."""
    if thawed := of(appointment).filter(status=UnitStatus.THAWED).first():
        raise StepRefused(f"Unit {thawed} is thawed and cannot go back into store. Record that it was discarded first.")
    for unit in of(appointment).filter(status=UnitStatus.ALLOCATED):
        move(unit, UnitStatus.RECEIVED, moves=UNIT_MOVES, by=by, at=at, also={"appointment": None})


def unusable(unit: Unit, *, at: datetime) -> str:
    """Why this unit must not go into a patient at that moment; "" if it may."""
    zone = unit.lot.site.zone
    if unit.lot.status != LotStatus.RELEASED:
        return f"its lot is {unit.lot.get_status_display()}"
    if unit.lot.expires_at <= at:
        return f"its lot expired on {spoken(unit.lot.expires_at, zone)}"
    if unit.safe_until is not None and unit.thaw_started_at is None and unit.safe_until <= at:
        return f"its shipper was safe until {spoken(unit.safe_until, zone)}"
    return ""


def lacking_units() -> QuerySet[Appointment]:
    """Booked procedure days with fewer units than they need: after a recall, or when a vial was broken."""
    levels = Func(F("episode__target_levels"), function="cardinality", output_field=IntegerField())
    return (
        Appointment.objects.filter(
            visit=Visit.PROCEDURE, status__in=AHEAD, episode__protocol__product__source=CellSource.ALLOGENEIC
        )
        .annotate(
            units_needed=levels * F("episode__protocol__units_per_level"),
            units_in_hand=Count("units", filter=Q(units__status__in=IN_HAND)),
        )
        .filter(units_in_hand__lt=F("units_needed"))
        .order_by("during")
    )


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
