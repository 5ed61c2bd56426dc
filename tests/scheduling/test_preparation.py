from datetime import timedelta

import pytest

from clinic.models import StatusChange
from clinic.status import StepRefused
from followup.demo import walk
from scheduling import bookings, preparation
from scheduling.models import Harvest, Lot, Product, Unit
from scheduling.models.product import Shipper, Tissue
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


def check(lot, at, **found):
    as_announced = {"celsius": -160, "shipper": Shipper.INTACT, "units_announced": 4, "units_counted": 4}
    return preparation.check_receipt(lot, **as_announced | found, checked_by="Tomas  Varga", by=BY, at=at)


def release(lot, at, reason="Certificate read"):
    return preparation.release_lot(lot, reason=reason, by=BY, at=at)


def test_a_lot_waits_in_quarantine_until_it_is_checked_and_released(lot, at):
    assert lot.status == LotStatus.QUARANTINED
    with pytest.raises(StepRefused, match="Nobody has checked Disc progenitor cells lot A1 since it came"):
        release(lot, at)

    checked = check(lot, at)

    assert (checked.passed, checked.checked_by, checked.checked_at) == (True, "Tomas Varga", at)
    assert release(lot, at).status == LotStatus.RELEASED


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ({"celsius": "-129.9"}, "It came at -129.9 °C; the warmest allowed is -130.0 °C."),
        ({"celsius": -200}, "It came at -200.0 °C; the coldest allowed is -196.0 °C."),
        ({"shipper": Shipper.DAMAGED}, "The shipper was damaged or opened."),
        ({"units_counted": 3}, "Units announced: 4, counted: 3."),
        ({"units_counted": 5, "shipper": Shipper.DAMAGED},
         "The shipper was damaged or opened. Units announced: 4, counted: 5."),
    ],
)  # fmt: skip
def test_a_delivery_that_is_not_as_it_should_be_stays_in_quarantine_and_says_why(lot, at, found, why):
    Product.objects.update(transport_celsius_min=-196)

    checked = check(Lot.objects.get(pk=lot.pk), at, **found)

    assert (checked.passed, checked.findings) == (False, why)
    with pytest.raises(StepRefused, match=f"did not pass its receipt check. {why}"):
        release(lot, at)
    assert StatusChange.objects.filter(subject_id=lot.pk).latest("pk").reason == f"Receipt check: {why}"


@pytest.mark.parametrize("celsius", ["-130.0", "-196.0"])
def test_the_limits_of_transport_themselves_pass(lot, at, celsius):
    Product.objects.update(transport_celsius_min=-196)

    assert check(Lot.objects.get(pk=lot.pk), at, celsius=celsius).passed


def test_without_a_transport_temperature_of_the_product_nothing_passes(lot, at):
    Product.objects.update(transport_celsius_max=None)

    checked = check(Lot.objects.get(pk=lot.pk), at)

    assert checked.findings == "No transport temperature is entered for Disc progenitor cells."


def test_the_latest_check_counts(lot, at):
    check(lot, at, units_counted=3)
    check(lot, at + timedelta(hours=2))
    assert release(lot, at).status == LotStatus.RELEASED

    check(lot, at + timedelta(hours=4), shipper=Shipper.DAMAGED)

    lot.refresh_from_db()
    assert lot.status == LotStatus.QUARANTINED
    with pytest.raises(StepRefused, match="did not pass its receipt check"):
        release(lot, at + timedelta(hours=5))


@pytest.mark.parametrize(
    "found",
    [{"celsius": "NaN"}, {"celsius": "1e9"}, {"shipper": "lost"}, {"units_counted": -1}, {"units_announced": 10**9}],
)
def test_a_check_that_cannot_be_is_not_kept(lot, at, found):
    with pytest.raises(StepRefused, match="This cannot be recorded"):
        check(lot, at, **found)

    assert not lot.receipt_checks.exists()


def test_a_check_names_who_looked(lot, at):
    with pytest.raises(StepRefused, match=r"This cannot be recorded. checked by"):
        preparation.check_receipt(
            lot, celsius=-160, shipper="intact", units_announced=4, units_counted=4, checked_by=" ", by=BY, at=at
        )


def test_a_lot_is_released_quarantined_and_recalled_with_a_reason(lot, at):
    check(lot, at)
    with pytest.raises(StepRefused, match="Say why"):
        release(lot, at, reason=" ")
    release(lot, at)
    for step in (preparation.quarantine_lot, preparation.recall_lot):
        with pytest.raises(StepRefused, match="Say why"):
            step(lot, reason="", by=BY, at=at)

    preparation.quarantine_lot(lot, reason="The alarm went", by=BY, at=at)
    preparation.recall_lot(lot, reason="Letter of the maker", by=BY, at=at)

    trail = StatusChange.objects.filter(subject_id=lot.pk).order_by("pk").values_list("became", "reason")
    assert list(trail) == [
        ("quarantined", ""),
        ("quarantined", "Receipt check: passed."),
        ("released", "Certificate read"),
        ("quarantined", "The alarm went"),
        ("recalled", "Letter of the maker"),
    ]


def test_a_lot_is_received_once(site, product, lot, at):
    with pytest.raises(StepRefused, match="Lot A1 of Disc progenitor cells was received already"):
        preparation.receive_lot(product, site=site, number=" A1 ", expires_at=at + timedelta(days=9), by=BY, at=at)


def test_an_expired_lot_is_not_received(site, product, at):
    with pytest.raises(StepRefused, match="The lot expired on"):
        preparation.receive_lot(product, site=site, number="A2", expires_at=at, by=BY, at=at)


def test_an_expired_lot_is_not_released(lot, at):
    with pytest.raises(StepRefused, match="It cannot be released"):
        release(lot, lot.expires_at)


def test_the_patients_own_cells_have_no_lots(site, at):
    with pytest.raises(StepRefused, match="made of the patient's own cells"):
        preparation.receive_lot(
            walk.protocol().product, site=site, number="A2", expires_at=at + timedelta(days=9), by=BY, at=at
        )


def test_a_recalled_lot_never_comes_back(lot, at):
    recalled = preparation.recall_lot(lot, reason="Sterility test", by=BY, at=at)

    with pytest.raises(StepRefused, match="cannot become"):
        preparation.quarantine_lot(recalled, reason="Only for now", by=BY, at=at)
    check(recalled, at)
    with pytest.raises(StepRefused, match="cannot become"):
        release(recalled, at)


def test_a_unit_that_its_shipper_held_no_longer_is_not_received(lot, at):
    with pytest.raises(StepRefused, match="Such a unit cannot be received"):
        preparation.receive_unit(lot, identifier="W1", shipper_hold_until=at, by=BY, at=at)


def test_a_unit_leaves_its_shipper_in_time(lot, at):
    ends = at + timedelta(days=5)
    unit = preparation.receive_unit(lot, identifier="W1", shipper_hold_until=ends, by=BY, at=at)
    with pytest.raises(StepRefused, match="Say where"):
        preparation.store_unit(unit, storage=" ", by=BY, at=ends)

    stored = preparation.store_unit(unit, storage="Tank  2", by=BY, at=ends)

    assert (stored.shipper_hold_until, stored.storage, stored.status) == (None, "Tank 2", UnitStatus.RECEIVED)
    with pytest.raises(StepRefused, match="Unit W1 is not in a shipper"):
        preparation.store_unit(stored, storage="Tank 3", by=BY, at=ends)


def test_a_unit_that_stayed_too_long_in_its_shipper_is_not_stored_any_more(lot, at):
    ends = at + timedelta(days=5)
    unit = preparation.receive_unit(lot, identifier="W1", shipper_hold_until=ends, by=BY, at=at)

    with pytest.raises(StepRefused, match=r"The shipper of unit W1 held it until .* Discard the unit"):
        preparation.store_unit(unit, storage="Tank 2", by=BY, at=ends + timedelta(seconds=1))


def test_a_dose_is_more_than_nothing(site, product, at):
    with pytest.raises(StepRefused, match="A unit holds more than no cells"):
        preparation.receive_lot(
            product, site=site, number="A2", expires_at=at + timedelta(days=9), dose_million=0, by=BY, at=at
        )


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
        (lambda day, unit: Unit.objects.update(shipper_hold_until=day.during.lower), "its shipper held it until"),
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
