"""Step 4: the cells made ready. Leaves behind a Harvest that carries its kit, or a Unit received, thawed, discarded."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from clinic.clock import spoken
from clinic.models import Site
from clinic.status import StepRefused, move, note
from clinic.text import clean
from scheduling import cells, diary
from scheduling.models import Appointment, Harvest, Lot, Product, ReceiptCheck, Unit
from scheduling.models.product import CellSource, Shipper
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
def receive_lot(
    product: Product,
    *,
    site: Site,
    number: str,
    expires_at: datetime,
    by: str,
    at: datetime,
    dose_million: Decimal | None = None,
) -> Lot:
    """A lot has come. It stays in quarantine until its receipt check has passed and somebody releases it."""
    if product.source != CellSource.ALLOGENEIC:
        raise StepRefused(f"{product} is made of the patient's own cells; it has no lots.")
    if expires_at <= at:
        raise StepRefused(f"The lot expired on {spoken(expires_at, site.zone)}. It cannot be received.")
    lot = Lot(site=site, product=product, number=clean(number), expires_at=expires_at, dose_million=dose_million)
    cells.check_fields(lot)
    if lot.dose_million is not None and lot.dose_million <= 0:
        raise StepRefused("A unit holds more than no cells. Correct the dose, or leave it empty.")
    _save_new(lot, f"Lot {lot.number} of {product} was received already.")
    note(lot, was="", became=lot.status, by=by, at=at)
    return lot


@diary.one_commit()
def check_receipt(
    lot: Lot,
    *,
    celsius: Decimal,
    shipper: str,
    units_announced: int,
    units_counted: int,
    checked_by: str,
    by: str,
    at: datetime,
) -> ReceiptCheck:
    """Look at what came: how cold, in what state, how many. What does not pass is in quarantine from now on."""
    check = ReceiptCheck(
        lot=lot,
        checked_at=at,
        checked_by=clean(checked_by),
        celsius=celsius,
        shipper=shipper,
        units_announced=units_announced,
        units_counted=units_counted,
    )
    cells.check_fields(check)
    check.findings = " ".join(_found(check, lot.product))
    days = _lock_with_days(lot)
    check.save(force_insert=True)
    lot.refresh_from_db()
    said = f"Receipt check: {check.findings or 'passed.'}"
    if check.findings and lot.status == LotStatus.RELEASED:
        _withdraw(lot, LotStatus.QUARANTINED, days=days, reason=said, by=by, at=at)
    else:
        note(lot, was=lot.status, became=lot.status, by=by, at=at, reason=said)
    return check


def _found(check: ReceiptCheck, product: Product) -> Iterator[str]:
    """What is wrong with a delivery, in sentences."""
    coldest, warmest = product.transport_celsius_min, product.transport_celsius_max
    if coldest is None and warmest is None:
        yield f"No transport temperature is entered for {product}."
    if warmest is not None and check.celsius > warmest:
        yield f"It came at {check.celsius:.1f} °C; the warmest allowed is {warmest} °C."
    if coldest is not None and check.celsius < coldest:
        yield f"It came at {check.celsius:.1f} °C; the coldest allowed is {coldest} °C."
    if check.shipper != Shipper.INTACT:
        yield "The shipper was damaged or opened."
    if check.units_counted != check.units_announced:
        yield f"Units announced: {check.units_announced}, counted: {check.units_counted}."


@transaction.atomic
def release_lot(lot: Lot, *, reason: str, by: str, at: datetime) -> Lot:
    """From now on its units may be given to patients."""
    reason = _said(reason)
    lot = Lot.objects.select_for_update(of=("self",), no_key=True).select_related("site", "product").get(pk=lot.pk)
    if lot.expires_at <= at:
        raise StepRefused(f"{lot} expired on {spoken(lot.expires_at, lot.site.zone)}. It cannot be released.")
    check = lot.receipt_checks.order_by("checked_at", "pk").last()
    if check is None:
        raise StepRefused(f"Nobody has checked {lot} since it came. Record the receipt check first.")
    if not check.passed:
        raise StepRefused(
            f"{lot} did not pass its receipt check. {check.findings} Check it again once that is settled."
        )
    return move(lot, LotStatus.RELEASED, moves=LOT_MOVES, by=by, at=at, reason=reason)


@diary.one_commit()
def quarantine_lot(lot: Lot, *, reason: str, by: str, at: datetime) -> Lot:
    """Nothing of this lot is given to anybody until it is released again. Days that counted on it are looked after as
    after a recall: whether it comes back in time, nobody knows."""
    reason = _said(reason)
    return _withdraw(lot, LotStatus.QUARANTINED, days=_lock_with_days(lot), reason=reason, by=by, at=at)


@diary.one_commit()
def recall_lot(lot: Lot, *, reason: str, by: str, at: datetime) -> Lot:
    """Nothing of this lot is given to anybody any more. Days that counted on it get other units where there are any;
    those that do not are in `cells.lacking_units()`."""
    reason = _said(reason)
    return _withdraw(lot, LotStatus.RECALLED, days=_lock_with_days(lot), reason=reason, by=by, at=at)


def _lock_with_days(lot: Lot) -> list[Appointment]:
    """The appointments that have units of this lot. They are locked first and then every lot of the product, in the
    order in which a booking locks them: nobody deadlocks, and nobody is given a unit of this lot meanwhile."""
    theirs = Appointment.objects.filter(units__lot=lot, units__status=UnitStatus.ALLOCATED).distinct()
    known = list(theirs.values_list("pk", flat=True))
    days = list(_locking(Appointment.objects.filter(pk__in=known).order_by("pk")))
    cells.lock_lots(lot.product, lot.site)
    if theirs.exclude(pk__in=known).exists():
        raise StepRefused("A unit of this lot was booked just now. Do it again.")
    return days


def _withdraw(lot: Lot, to: LotStatus, *, days: list[Appointment], reason: str, by: str, at: datetime) -> Lot:
    """Take the lot out of use and back what was given of it; then each day gets the next, the earliest day first."""
    lot = move(lot, to, moves=LOT_MOVES, by=by, at=at, reason=reason)
    why = f"Its lot was {to.label.lower()}."
    given = list(Unit.objects.filter(lot=lot, status=UnitStatus.ALLOCATED).order_by("pk"))
    lost = {unit.appointment_id for unit in given}
    for unit in given:
        cells.put_back(unit, by=by, at=at, reason=why)
    for day in sorted(days, key=lambda day: day.during.lower):
        if day.pk in lost:
            _fill_up(day, why=why, by=by, at=at)
    return lot


def _fill_up(appointment: Appointment, *, why: str, by: str, at: datetime) -> None:
    try:
        with transaction.atomic():
            cells.allocate(appointment, by=by, at=at)
    except cells.NoUnits as none_left:
        status = appointment.status
        note(appointment, was=status, became=status, by=by, at=at, reason=f"{why} {none_left}")


@transaction.atomic
def receive_unit(
    lot: Lot,
    *,
    identifier: str,
    by: str,
    at: datetime,
    shipper_hold_until: datetime | None = None,
    storage: str = "",
) -> Unit:
    """One vial is in store, or still in the dry shipper it came in, which holds it until `shipper_hold_until`."""
    if lot.status == LotStatus.RECALLED:
        raise StepRefused(f"{lot} is recalled. Its units cannot be received.")
    if shipper_hold_until is not None and shipper_hold_until <= at:
        until = spoken(shipper_hold_until, lot.site.zone)
        raise StepRefused(f"The shipper held its cells until {until}. Such a unit cannot be received.")
    unit = Unit(
        lot=lot,
        identifier=clean(identifier),
        received_at=at,
        shipper_hold_until=shipper_hold_until,
        storage=clean(storage),
    )
    cells.check_fields(unit)
    _save_new(unit, f"Unit {unit.identifier} was received already.")
    note(unit, was="", became=unit.status, by=by, at=at)
    return unit


@transaction.atomic
def store_unit(unit: Unit, *, storage: str, by: str, at: datetime) -> Unit:
    """The unit has left its shipper for the clinic's own storage, in time: the hold counts no longer."""
    unit = _unit(unit)
    zone, hold = unit.lot.site.zone, unit.shipper_hold_until
    if hold is None or unit.status not in cells.IN_STORE:
        raise StepRefused(f"Unit {unit} is not in a shipper.")
    if hold < at:
        raise StepRefused(f"The shipper of unit {unit} held it until {spoken(hold, zone)}. Discard the unit.")
    unit.storage, unit.shipper_hold_until = clean(storage), None
    if not unit.storage:
        raise StepRefused("Say where the unit is kept now.")
    cells.check_fields(unit)
    unit.save(update_fields=["storage", "shipper_hold_until"])
    said = f"From its shipper into {unit.storage}."
    note(unit, was=unit.status, became=unit.status, by=by, at=at, reason=said)
    return unit


# Which unit a day has.


@diary.one_commit()
def replace_unit(appointment: Appointment, *, by: str, at: datetime) -> list[Unit]:
    """Give a booked day the units it lacks: after a recall, when one was broken or will be out of date by then."""
    appointment = _expecting(appointment)
    until = cells.needed_until(appointment) if cells.wanted_by(appointment) else at
    for unit in cells.of(appointment).filter(status=UnitStatus.ALLOCATED).select_related("lot"):
        if unit.lot.status != LotStatus.RELEASED or cells.good_until(unit) < until:
            cells.put_back(unit, by=by, at=at, reason="No longer good for the day that had it.")
    return cells.allocate(appointment, by=by, at=at)


@diary.one_commit()
def choose_unit(appointment: Appointment, *, unit: Unit, reason: str, by: str, at: datetime) -> Unit:
    """Give a booked day another unit than the one that expires first, with a reason. If the day has all it needs, its
    unit that lasts longest goes back into store."""
    return cells.choose(_expecting(appointment), unit, reason=_short(reason), by=by, at=at)


def _expecting(appointment: Appointment) -> Appointment:
    appointment = _locked(appointment)
    if appointment.status not in cells.AHEAD:
        raise StepRefused(f"{appointment} is {appointment.get_status_display()}; it needs no cells.")
    return appointment


@transaction.atomic
def thaw(unit: Unit, *, matched_by: tuple[str, str], by: str, at: datetime) -> Unit:
    """Start the thaw, and with it the product's clock. Not before the patient is here and two people have matched."""
    matched = cells.two_people(matched_by)
    if unit.appointment is None:
        raise StepRefused(f"Unit {unit} belongs to no appointment. Only a unit allocated to a patient is thawed.")
    appointment = _locked(unit.appointment)
    cells.lock_lots(appointment.episode.protocol.product, appointment.site)  # a recall comes before or after
    unit = _unit(unit)
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
    reason = _short(reason)
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


def _short(reason: str) -> str:
    if len(said := _said(reason)) <= REASON_LENGTH:
        return said
    raise StepRefused(f"The reason is too long: {REASON_LENGTH} characters are kept.")


def _locking(rows: QuerySet[Appointment]) -> QuerySet[Appointment]:
    related = ("site", "episode__patient", "episode__protocol__product")
    return rows.select_related(*related).select_for_update(of=("self",), no_key=True)


def _locked(appointment: Appointment) -> Appointment:
    return _locking(Appointment.objects.all()).get(pk=appointment.pk)


def _unit(unit: Unit) -> Unit:
    related = ("lot__site", "lot__product")
    return Unit.objects.select_for_update(of=("self",), no_key=True).select_related(*related).get(pk=unit.pk)


def _save_new(row: Lot | Unit | Harvest, already: str) -> None:
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as clash:
        if getattr(clash.__cause__, "sqlstate", "") != "23505":
            raise
        raise StepRefused(already) from clash
