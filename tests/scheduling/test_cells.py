from datetime import date, timedelta

import pytest

from clinic.clock import local_date
from clinic.status import StepRefused
from followup.demo import walk
from scheduling import bookings, cells, preparation
from scheduling.models import Appointment, Episode, Lot, Unit
from scheduling.models.protocol import Visit
from scheduling.states import LotStatus, UnitStatus

BY = walk.BY
P = Visit.PROCEDURE
MONDAY = date(2026, 5, 11)
CODE = "disc-progenitor-allogeneic"


@pytest.fixture
def empty_store(site):
    Unit.objects.all().delete()
    Lot.objects.all().delete()


@pytest.fixture
def episode(patient, at):
    return walk.open_episode(patient, at=at, code=CODE)


def add_lot(site, at, number, *, days, units=1, released=True, safe_hours=None):
    lot = preparation.receive_lot(
        walk.protocol(CODE).product, site=site, number=number, expires_at=at + timedelta(days=days), by=BY, at=at
    )
    if released:
        lot = preparation.release_lot(lot, by=BY, at=at)
    safe_until = safe_hours and at + timedelta(hours=safe_hours)
    for n in range(units):
        preparation.receive_unit(lot, identifier=f"{number}-{n}", safe_until=safe_until, by=BY, at=at)
    return lot


def search(episode, at, **given):
    return bookings.find(episode, visit=P, earliest=MONDAY, at=at, **given)


def book(episode, at, option=None):
    return bookings.book_at(episode, visit=P, option=option or search(episode, at).options[0], by=BY, at=at)


def units(appointment):
    return [(unit.identifier, unit.status) for unit in cells.of(appointment)]


def test_the_unit_that_expires_first_goes_out_first(site, empty_store, episode, at):
    add_lot(site, at, "LATE", days=90)
    add_lot(site, at, "EARLY", days=30)

    assert units(book(episode, at)) == [("EARLY-0", UnitStatus.ALLOCATED)]


def test_what_the_shipper_keeps_for_a_short_time_goes_out_first(site, empty_store, episode, at):
    add_lot(site, at, "FRIDGE", days=30)
    add_lot(site, at, "SHIPPER", days=90, safe_hours=24 * 9)

    assert units(book(episode, at)) == [("SHIPPER-0", UnitStatus.ALLOCATED)]


@pytest.mark.parametrize(
    "lot",
    [{"days": 30, "released": False}, {"days": 7}, {"days": 30, "safe_hours": 24 * 7}, {"days": 30, "units": 0}],
    ids=["in quarantine", "expired by then", "out of its shipper by then", "no units"],
)
def test_what_may_not_be_used_that_day_is_not_given(site, empty_store, episode, at, lot):
    option = search_with_stock(site, episode, at)
    add_lot(site, at, "L", **lot)

    with pytest.raises(cells.NoUnits, match="Only 0 of 1 units of Disc progenitor cells are released"):
        book(episode, at, option)
    assert not Appointment.objects.exists()


def search_with_stock(site, episode, at):
    """An option as it was found while there was something in store."""
    lot = add_lot(site, at, "GONE", days=30)
    option = search(episode, at).options[0]
    preparation.recall_lot(lot, by=BY, at=at)
    return option


def test_a_search_without_stock_says_what_to_do(empty_store, episode, at):
    assert search(episode, at).shortage.sentence == (
        "This procedure takes 1 of Disc progenitor cells from stock, and there is not so much that is released and not "
        "reserved. Receive and release a lot first."
    )


def test_offers_end_when_the_cells_expire(site, empty_store, episode, at):
    add_lot(site, at, "L", days=9)  # Wednesday 13 May, 09:00

    found = search(episode, at, limit=1000, per_day=1).options

    assert [local_date(option.start, site.zone).day for option in found] == [11, 12]


def test_a_search_after_the_cells_expire_says_so(site, empty_store, episode, at):
    add_lot(site, at, "L", days=5)

    assert search(episode, at).shortage.sentence == "The cells in stock can be used until Sat 9 May 2026."


def test_a_product_may_ask_for_a_margin_before_its_expiry(site, empty_store, episode, at):
    product = episode.protocol.product
    product.expiry_margin_minutes = 60 * 24
    product.save()
    add_lot(site, at, "L", days=9)

    found = search(Episode.objects.get(pk=episode.pk), at, limit=1000, per_day=1).options

    assert [local_date(option.start, site.zone).day for option in found] == [11]


def test_the_last_unit_goes_to_one_patient_only(site, empty_store, episode, at):
    add_lot(site, at, "L", days=30)
    other = walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at, code=CODE)
    option = search(other, at, weekdays={1}).options[0]
    book(episode, at)

    with pytest.raises(cells.NoUnits):
        bookings.book_at(other, visit=P, option=option, by=BY, at=at)


def test_two_discs_take_two_units(site, at):
    patient = walk.register(site, at=at)
    verdict = walk.sign(patient, at=at, code="umbilical-cord-allogeneic", target_levels=["L4/5", "L5/S1"])

    appointment = book(bookings.open_episode(verdict, by=BY, at=at), at)

    assert cells.of(appointment).count() == 2


def test_a_cancelled_day_gives_its_unit_back(site, episode, at):
    appointment = book(episode, at)

    bookings.cancel(appointment, reason="The patient asked", by=BY, at=at)

    assert not Unit.objects.exclude(status=UnitStatus.RECEIVED, appointment=None).exists()


def test_a_hold_that_lapses_gives_its_unit_back(site, episode, at):
    held = bookings.hold(episode, visit=P, option=search(episode, at).options[0], by=BY, at=at)
    assert cells.of(held).count() == 1

    bookings.lapse_holds(at=held.held_until)

    assert cells.of(held).count() == 0


def test_a_moved_day_gets_cells_that_last_until_then(site, empty_store, episode, at):
    add_lot(site, at, "SHORT", days=9)
    appointment = book(episode, at)
    add_lot(site, at, "LONG", days=90)
    later = search(episode, at, ignore=appointment, weekdays={4}).options[0]

    moved = bookings.move(appointment, option=later, reason="The patient asked", by=BY, at=at)

    assert units(moved) == [("LONG-0", UnitStatus.ALLOCATED)]
    assert Unit.objects.get(identifier="SHORT-0").status == UnitStatus.RECEIVED


def test_a_move_beyond_the_cells_changes_nothing(site, empty_store, episode, at):
    lot = add_lot(site, at, "L", days=30)
    appointment = book(episode, at)
    later = search(episode, at, ignore=appointment, weekdays={4}).options[0]
    Lot.objects.filter(pk=lot.pk).update(expires_at=at + timedelta(days=9))

    with pytest.raises(cells.NoUnits):
        bookings.move(appointment, option=later, reason="The patient asked", by=BY, at=at)

    appointment.refresh_from_db()
    assert appointment.version == 1
    assert units(appointment) == [("L-0", UnitStatus.ALLOCATED)]


def test_the_cells_of_an_appointment_that_moves_count_as_its_own(site, empty_store, episode, at):
    add_lot(site, at, "L", days=30)
    appointment = book(episode, at)

    assert search(episode, at, ignore=appointment).options[0].start == appointment.during.lower


def test_after_a_recall_the_day_gets_another_unit(site, empty_store, episode, at):
    bad = add_lot(site, at, "BAD", days=30)
    add_lot(site, at, "GOOD", days=60)
    appointment = book(episode, at)

    recalled = preparation.recall_lot(bad, reason="Sterility test", by=BY, at=at)

    assert recalled.status == LotStatus.RECALLED
    assert units(appointment) == [("GOOD-0", UnitStatus.ALLOCATED)]
    assert not cells.lacking_units().exists()


def test_after_a_recall_without_replacement_the_day_is_on_a_list(site, empty_store, episode, at):
    bad = add_lot(site, at, "BAD", days=30)
    appointment = book(episode, at)

    preparation.recall_lot(bad, reason="Sterility test", by=BY, at=at)

    assert [(day.pk, day.units_needed, day.units_in_hand) for day in cells.lacking_units()] == [(appointment.pk, 1, 0)]


def test_a_day_without_cells_is_filled_up_once_there_are_some(site, empty_store, episode, at):
    bad = add_lot(site, at, "BAD", days=30)
    appointment = book(episode, at)
    preparation.recall_lot(bad, reason="Sterility test", by=BY, at=at)
    add_lot(site, at, "NEW", days=30)

    preparation.replace_unit(appointment, by=BY, at=at)

    assert units(appointment) == [("NEW-0", UnitStatus.ALLOCATED)]
    assert not cells.lacking_units().exists()


def test_the_patients_own_cells_come_from_no_store(patient, at):
    appointment = walk.book(walk.open_episode(patient, at=at), at=at)

    assert cells.of(appointment).count() == 0


@pytest.mark.parametrize("names", [("Ines", "Ines"), ("Ines", " ines "), ("Ines", ""), ("Ines",), ()])
def test_a_match_takes_two_people(names):
    with pytest.raises(StepRefused, match="Two different people"):
        cells.two_people(names)


def test_both_who_matched_are_kept():
    assert cells.two_people(("Ines  Moreau", "Peter Novak")) == "Ines Moreau and Peter Novak"
