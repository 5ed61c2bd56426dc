"""Step 4: the cells made ready. Leaves behind a Harvest that carries its kit, or a Unit received, thawed, discarded."""

from datetime import datetime
from decimal import Decimal

from django.db import IntegrityError, transaction

from clinic.clock import spoken
from clinic.models import Site
from clinic.status import StepRefused, move, note
from clinic.text import clean
from scheduling import cells
from scheduling.models import Appointment, Harvest, Lot, Product, Unit
from scheduling.models.product import CellSource
from scheduling.models.protocol import Visit
from scheduling.states import (
    HARVEST_MOVES,
    LOT_MOVES,
    UNIT_MOVES,
    AppointmentStatus,
    HarvestStatus,
    LotStatus,
    UnitStatus,
)

REASON_LENGTH = 200  # as the column holds
HARVESTED_AT: dict[str, str] = {CellSource.SAME_SESSION: Visit.PROCEDURE, CellSource.EXPANDED: Visit.HARVEST}


# Cells from a donor come as lots of units.


@transaction.atomic
def receive_lot(product: Product, *, site: Site, number: str, expires_at: datetime, by: str, at: datetime) -> Lot:
    """A lot has come. It stays in quarantine until somebody releases it."""
    if product.source != CellSource.ALLOGENEIC:
        raise StepRefused(f"{product} is made of the patient's own cells; it has no lots.")
    if expires_at <= at:
        raise StepRefused(f"The lot expired on {spoken(expires_at, site.zone)}. It cannot be received.")
    lot = Lot(site=site, product=product, number=clean(number), expires_at=expires_at)
    cells.check_fields(lot)
    _save_new(lot, f"Lot {lot.number} of {product} was received already.")
    note(lot, was="", became=lot.status, by=by, at=at)
    return lot


@transaction.atomic
def release_lot(lot: Lot, *, reason: str = "", by: str, at: datetime) -> Lot:
    """From now on its units may be given to patients."""
    if lot.expires_at <= at:
        raise StepRefused(f"{lot} expired on {spoken(lot.expires_at, lot.site.zone)}. It cannot be released.")
    return move(lot, LotStatus.RELEASED, moves=LOT_MOVES, by=by, at=at, reason=reason)


@transaction.atomic
def recall_lot(lot: Lot, *, reason: str = "", by: str, at: datetime) -> Lot:
    """Nothing of this lot is given to anybody any more. Days that counted on it get other units where there are any;
    those that do not are in `cells.lacking_units()`."""
    mine = Appointment.objects.filter(units__lot=lot, units__status=UnitStatus.ALLOCATED).distinct()
    known = list(mine.values_list("pk", flat=True))
    days = list(Appointment.objects.filter(pk__in=known).order_by("pk").select_for_update(no_key=True, of=("self",)))
    lot = move(lot, LotStatus.RECALLED, moves=LOT_MOVES, by=by, at=at, reason=reason)
    if mine.exclude(pk__in=known).exists():
        raise StepRefused("A unit of this lot was booked just now. Recall the lot again.")
    for day in days:
        for unit in cells.of(day).filter(lot=lot, status=UnitStatus.ALLOCATED):
            move(unit, UnitStatus.RECEIVED, moves=UNIT_MOVES, by=by, at=at, also={"appointment": None})
        _fill_up(day, by=by, at=at)
    return lot


def _fill_up(appointment: Appointment, *, by: str, at: datetime) -> None:
    try:
        with transaction.atomic():
            cells.allocate(appointment, by=by, at=at)
    except cells.NoUnits as none_left:
        status = appointment.status
        note(appointment, was=status, became=status, by=by, at=at, reason=f"Its lot was recalled. {none_left}")


@transaction.atomic
def receive_unit(
    lot: Lot,
    *,
    identifier: str,
    by: str,
    at: datetime,
    safe_until: datetime | None = None,
    storage: str = "",
) -> Unit:
    """One vial is in store; `safe_until` is the end of its shipper's hold, if it stays in one."""
    unit = Unit(lot=lot, identifier=clean(identifier), received_at=at, safe_until=safe_until, storage=clean(storage))
    cells.check_fields(unit)
    if lot.status == LotStatus.RECALLED:
        raise StepRefused(f"{lot} is recalled. Its units cannot be received.")
    _save_new(unit, f"Unit {unit.identifier} was received already.")
    note(unit, was="", became=unit.status, by=by, at=at)
    return unit


@transaction.atomic
def replace_unit(appointment: Appointment, *, by: str, at: datetime) -> list[Unit]:
    """Give a booked day the units it lacks: after a recall, or when one was broken."""
    appointment = _locked(appointment)
    if appointment.status not in cells.AHEAD:
        raise StepRefused(f"{appointment} is {appointment.get_status_display()}; it needs no cells.")
    return cells.allocate(appointment, by=by, at=at)


@transaction.atomic
def thaw(unit: Unit, *, matched_by: tuple[str, str], by: str, at: datetime) -> Unit:
    """Start the thaw, and with it the product's clock. Not before the patient is here and two people have matched."""
    matched = cells.two_people(matched_by)
    if unit.appointment is None:
        raise StepRefused(f"Unit {unit} belongs to no appointment. Only a unit allocated to a patient is thawed.")
    appointment = _locked(unit.appointment)
    unit = Unit.objects.select_for_update(of=("self",), no_key=True).select_related("lot__site").get(pk=unit.pk)
    if unit.appointment_id != appointment.pk:
        raise StepRefused(f"Unit {unit} belongs to another appointment now. Look at it again before you thaw it.")
    if appointment.status != AppointmentStatus.ARRIVED:
        raise StepRefused("The patient has not checked in. Thaw starts only after check-in.")
    if why := cells.unusable(unit, at=at):
        raise StepRefused(f"Unit {unit} cannot be used: {why}. Discard it and take another.")
    also = {"thaw_started_at": at, "matched_by": matched}
    return move(unit, UnitStatus.THAWED, moves=UNIT_MOVES, by=by, at=at, also=also)


@transaction.atomic
def discard(unit: Unit, *, reason: str, by: str, at: datetime) -> Unit:
    """The unit will never be used, and here is why. It keeps the name of the appointment it was meant for."""
    reason = _said(reason)
    if len(reason) > REASON_LENGTH:
        raise StepRefused(f"The reason is too long: {REASON_LENGTH} characters are kept.")
    also = {"discard_reason": reason}
    return move(unit, UnitStatus.DISCARDED, moves=UNIT_MOVES, by=by, at=at, reason=reason, also=also)


# The patient's own cells are harvested into a kit.


@transaction.atomic
def record_harvest(
    appointment: Appointment, *, tissue: str, kit: str, volume_ml: Decimal, by: str, at: datetime, notes: str = ""
) -> Harvest:
    """What was taken from the patient, and the kit whose number follows it to the injection."""
    appointment = _locked(appointment)
    product = appointment.episode.protocol.product
    if HARVESTED_AT.get(product.source) != appointment.visit:
        raise StepRefused(f"Nothing is harvested for {product} on this visit.")
    if appointment.status != AppointmentStatus.ARRIVED:
        raise StepRefused("The patient has not checked in. Record the arrival first.")
    if Harvest.objects.filter(appointment=appointment).exists():
        raise StepRefused("The harvest of this visit is recorded already.")
    kit = clean(kit)
    if not kit:
        raise StepRefused("Scan or type the kit id: it carries the patient's identity until the injection.")
    harvest = Harvest(
        appointment=appointment,
        tissue=tissue,
        kit=kit,
        volume_ml=volume_ml,
        harvested_at=at,
        harvested_by=by,
        notes=clean(notes, lines=True),
    )
    cells.check_fields(harvest)
    if harvest.volume_ml <= 0:
        raise StepRefused("The harvested volume must be more than nothing.")
    _save_new(harvest, f"Kit {harvest.kit} was used before. Every kit is used once.")
    note(harvest, was="", became=harvest.status, by=by, at=at)
    return harvest


@transaction.atomic
def harvest_ready(
    harvest: Harvest,
    *,
    by: str,
    at: datetime,
    cells_million: Decimal | None = None,
    viability_pct: Decimal | None = None,
) -> Harvest:
    """The cells are processed and may be injected."""
    harvest.cells_million, harvest.viability_pct = cells_million, viability_pct
    cells.check_fields(harvest)
    if (cells_million or 0) < 0 or not 0 <= (viability_pct or 0) <= 100:
        raise StepRefused("Cells are counted from 0 up, and viability from 0 to 100 %.")
    counted = {"cells_million": cells_million, "viability_pct": viability_pct}
    return move(harvest, HarvestStatus.READY, moves=HARVEST_MOVES, by=by, at=at, also=counted)


@transaction.atomic
def harvest_failed(harvest: Harvest, *, reason: str, by: str, at: datetime) -> Harvest:
    """There are no cells to inject: they did not grow, or something went wrong."""
    return move(harvest, HarvestStatus.FAILED, moves=HARVEST_MOVES, by=by, at=at, reason=_said(reason))


@transaction.atomic
def discard_harvest(harvest: Harvest, *, reason: str, by: str, at: datetime) -> Harvest:
    """The patient's cells will not be injected, and here is why."""
    return move(harvest, HarvestStatus.DISCARDED, moves=HARVEST_MOVES, by=by, at=at, reason=_said(reason))


def _said(reason: str) -> str:
    if said := clean(reason, lines=True):
        return said
    raise StepRefused("Say why: the reason is kept.")


def _locked(appointment: Appointment) -> Appointment:
    related = ("site", "episode__protocol__product")
    rows = Appointment.objects.select_related(*related).select_for_update(of=("self",), no_key=True)
    return rows.get(pk=appointment.pk)


def _save_new(row: Lot | Unit | Harvest, already: str) -> None:
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as clash:
        if getattr(clash.__cause__, "sqlstate", "") != "23505":
            raise
        raise StepRefused(already) from clash
