from datetime import timedelta

import pytest

from clinic.status import StepRefused
from followup.demo import walk
from scheduling import bookings, preparation
from scheduling.models import Harvest, Lot, Product, Unit
from scheduling.models.product import Tissue
from scheduling.models.protocol import StepCode
from scheduling.states import AppointmentStatus, HarvestStatus, LotStatus, UnitStatus

BY = walk.BY
PAIR = ("Ines Moreau", "Tomas Varga")


@pytest.fixture
def product(site):
    return Product.objects.get(code="disc-progenitor-cells")


@pytest.fixture
def lot(site, product, at):
    return preparation.receive_lot(product, site=site, number="A1", expires_at=at + timedelta(days=90), by=BY, at=at)


@pytest.fixture
def thaw_day(patient, at):
    """A booked day with an allogeneic unit."""
    return walk.book(walk.open_episode(patient, at=at, code="disc-progenitor-allogeneic"), at=at)


@pytest.fixture
def harvest_day(patient, at):
    """A same-session day, the patient checked in."""
    day = walk.book(walk.open_episode(patient, at=at), at=at)
    return bookings.arrive(day, by=BY, at=day.during.lower)


def thaw_time(day):
    return day.steps.get(code=StepCode.THAW).during.lower


def harvest(day, *, kit="KIT-1", volume_ml=55, **given):
    return preparation.record_harvest(
        day, tissue=Tissue.BONE_MARROW, kit=kit, volume_ml=volume_ml, by=BY, at=day.during.lower, **given
    )


def test_a_lot_waits_in_quarantine_until_it_is_released(lot, at):
    assert lot.status == LotStatus.QUARANTINED

    assert preparation.release_lot(lot, by=BY, at=at).status == LotStatus.RELEASED


def test_a_lot_is_received_once(site, product, lot, at):
    with pytest.raises(StepRefused, match="Lot A1 of Disc progenitor cells was received already"):
        preparation.receive_lot(product, site=site, number=" A1 ", expires_at=at + timedelta(days=9), by=BY, at=at)


def test_an_expired_lot_is_not_received(site, product, at):
    with pytest.raises(StepRefused, match="The lot expired on"):
        preparation.receive_lot(product, site=site, number="A2", expires_at=at, by=BY, at=at)


def test_an_expired_lot_is_not_released(lot, at):
    with pytest.raises(StepRefused, match="It cannot be released"):
        preparation.release_lot(lot, by=BY, at=lot.expires_at)


def test_the_patients_own_cells_have_no_lots(site, at):
    with pytest.raises(StepRefused, match="made of the patient's own cells"):
        preparation.receive_lot(
            walk.protocol().product, site=site, number="A2", expires_at=at + timedelta(days=9), by=BY, at=at
        )


def test_a_recalled_lot_never_comes_back(lot, at):
    recalled = preparation.recall_lot(lot, reason="Sterility test", by=BY, at=at)

    with pytest.raises(StepRefused, match="cannot become"):
        preparation.release_lot(recalled, by=BY, at=at)


def test_a_unit_is_received_once(lot, at):
    preparation.receive_unit(lot, identifier="W1234", by=BY, at=at)

    with pytest.raises(StepRefused, match="Unit W1234 was received already"):
        preparation.receive_unit(lot, identifier="W1234", by=BY, at=at)


@pytest.mark.parametrize("identifier", ["", "  ", "x" * 61, "\x00"])
def test_a_unit_needs_an_identifier_that_can_be_kept(lot, at, identifier):
    with pytest.raises(StepRefused, match="This cannot be recorded"):
        preparation.receive_unit(lot, identifier=identifier, by=BY, at=at)


def test_a_thaw_starts_the_clock_of_the_unit(thaw_day):
    day = bookings.arrive(thaw_day, by=BY, at=thaw_day.during.lower)

    unit = preparation.thaw(day.units.get(), matched_by=PAIR, by=BY, at=thaw_time(day))

    assert (unit.status, unit.thaw_started_at, unit.matched_by) == (
        UnitStatus.THAWED,
        thaw_time(day),
        "Ines Moreau and Tomas Varga",
    )


def test_nothing_is_thawed_before_the_patient_is_here(thaw_day):
    with pytest.raises(StepRefused, match="Thaw starts only after check-in"):
        preparation.thaw(thaw_day.units.get(), matched_by=PAIR, by=BY, at=thaw_time(thaw_day))


def test_nothing_is_thawed_that_one_person_alone_has_matched(thaw_day):
    with pytest.raises(StepRefused, match="Two different people"):
        preparation.thaw(thaw_day.units.get(), matched_by=("Ines", "Ines"), by=BY, at=thaw_time(thaw_day))


def test_nothing_is_thawed_for_nobody(thaw_day):
    with pytest.raises(StepRefused, match="belongs to no appointment"):
        preparation.thaw(Unit.objects.filter(appointment=None).first(), matched_by=PAIR, by=BY, at=thaw_time(thaw_day))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda day, unit: Lot.objects.update(status=LotStatus.QUARANTINED), "its lot is Quarantined"),
        (lambda day, unit: Lot.objects.update(expires_at=day.during.lower), "its lot expired on Mon 11 May 2026"),
        (lambda day, unit: Unit.objects.update(safe_until=day.during.lower), "its shipper was safe until"),
    ],
    ids=["in quarantine again", "expired", "out of the shipper"],
)
def test_nothing_is_thawed_that_may_not_be_used_any_more(thaw_day, change, why):
    day = bookings.arrive(thaw_day, by=BY, at=thaw_day.during.lower)
    unit = day.units.get()
    change(day, unit)

    with pytest.raises(StepRefused, match=why):
        preparation.thaw(unit, matched_by=PAIR, by=BY, at=thaw_time(day))


def test_a_day_is_not_cancelled_over_a_thawed_unit_until_it_is_discarded(thaw_day):
    day = bookings.arrive(thaw_day, by=BY, at=thaw_day.during.lower)
    unit = preparation.thaw(day.units.get(), matched_by=PAIR, by=BY, at=thaw_time(day))
    with pytest.raises(StepRefused, match="is thawed and cannot go back into store"):
        bookings.cancel(day, reason="Fever", by=BY, at=thaw_time(day))

    preparation.discard(unit, reason="Procedure cancelled: fever", by=BY, at=thaw_time(day))

    assert bookings.cancel(day, reason="Fever", by=BY, at=thaw_time(day)).status == AppointmentStatus.CANCELLED


def test_a_discarded_unit_says_why_and_stays_discarded(thaw_day, at):
    unit = thaw_day.units.get()
    with pytest.raises(StepRefused, match="Say why"):
        preparation.discard(unit, reason="", by=BY, at=at)

    discarded = preparation.discard(unit, reason="Dropped", by=BY, at=at)

    assert (discarded.status, discarded.discard_reason) == (UnitStatus.DISCARDED, "Dropped")
    with pytest.raises(StepRefused, match="cannot become"):
        preparation.discard(discarded, reason="Again", by=BY, at=at)


def test_a_broken_unit_is_replaced_from_store(thaw_day, at):
    broken = preparation.discard(thaw_day.units.get(), reason="Dropped", by=BY, at=at)

    (replacement,) = preparation.replace_unit(thaw_day, by=BY, at=at)

    assert replacement.appointment == thaw_day
    assert replacement.pk != broken.pk


def test_a_harvest_is_recorded_with_its_kit(harvest_day):
    taken = harvest(harvest_day)

    ready = preparation.harvest_ready(taken, cells_million=120, viability_pct=93, by=BY, at=harvest_day.during.lower)

    assert (taken.status, ready.status, ready.kit, ready.viability_pct) == (
        HarvestStatus.COLLECTED,
        HarvestStatus.READY,
        "KIT-1",
        93,
    )


def test_a_kit_carries_one_patient(site, harvest_day, at):
    harvest(harvest_day)
    other = walk.book(walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at), at=at)
    other = bookings.arrive(other, by=BY, at=other.during.lower)

    with pytest.raises(StepRefused, match="Kit KIT-1 was used before"):
        harvest(other)


def test_one_harvest_is_recorded_for_a_visit(harvest_day):
    harvest(harvest_day)

    with pytest.raises(StepRefused, match="recorded already"):
        harvest(harvest_day, kit="KIT-2")


def test_nobody_is_harvested_before_arrival(patient, at):
    day = walk.book(walk.open_episode(patient, at=at), at=at)

    with pytest.raises(StepRefused, match="has not checked in"):
        harvest(day)


def test_nothing_is_harvested_for_cells_from_a_donor(thaw_day):
    day = bookings.arrive(thaw_day, by=BY, at=thaw_day.during.lower)

    with pytest.raises(StepRefused, match="Nothing is harvested for Disc progenitor cells"):
        harvest(day)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"kit": " "}, "Scan or type the kit id"),
        ({"kit": "K" * 61}, "This cannot be recorded"),
        ({"volume_ml": 0}, "more than nothing"),
        ({"volume_ml": "much"}, "This cannot be recorded"),
    ],
)
def test_a_harvest_that_cannot_be_is_refused(harvest_day, given, why):
    with pytest.raises(StepRefused, match=why):
        harvest(harvest_day, **given)
    assert not Harvest.objects.exists()


def test_viability_is_a_share(harvest_day):
    with pytest.raises(StepRefused, match="viability from 0 to 100"):
        preparation.harvest_ready(harvest(harvest_day), viability_pct=101, by=BY, at=harvest_day.during.lower)


def test_a_failed_harvest_says_why(harvest_day):
    taken = harvest(harvest_day)
    with pytest.raises(StepRefused, match="Say why"):
        preparation.harvest_failed(taken, reason=" ", by=BY, at=harvest_day.during.lower)

    failed = preparation.harvest_failed(taken, reason="Clotted", by=BY, at=harvest_day.during.lower)

    assert failed.status == HarvestStatus.FAILED


def test_ready_cells_can_be_discarded(harvest_day):
    ready = preparation.harvest_ready(harvest(harvest_day), by=BY, at=harvest_day.during.lower)

    discarded = preparation.discard_harvest(ready, reason="Fever", by=BY, at=harvest_day.during.lower)

    assert discarded.status == HarvestStatus.DISCARDED
