from datetime import date, timedelta
from random import Random

import pytest
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange

from clinic.clock import local_date
from clinic.models import StatusChange
from clinic.status import StepRefused
from followup.demo import walk
from scheduling import bookings, cells, preparation
from scheduling.models import Appointment, AppointmentStep, Episode, Lot, Product, Protocol, Unit
from scheduling.models.product import Shipper
from scheduling.models.protocol import StepCode, Visit
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


def receive(site, at, number, *, days, dose=None):
    product = walk.protocol(CODE).product
    expires_at = at + timedelta(days=days)
    return preparation.receive_lot(
        product, site=site, number=number, expires_at=expires_at, dose_million=dose, by=BY, at=at
    )


def check(lot, at, **found):
    as_announced = {"celsius": -160, "shipper": Shipper.INTACT, "units_announced": 1, "units_counted": 1}
    return preparation.check_receipt(lot, **as_announced | found, checked_by="Tomas Varga", by=BY, at=at)


def add_lot(site, at, number, *, days, units=1, released=True, hold_hours=None, dose=None):
    lot = receive(site, at, number, days=days, dose=dose)
    check(lot, at)
    if released:
        lot = preparation.release_lot(lot, reason="Certificate read", by=BY, at=at)
    hold = hold_hours and at + timedelta(hours=hold_hours)
    for n in range(units):
        preparation.receive_unit(lot, identifier=f"{number}-{n}", shipper_hold_until=hold, by=BY, at=at)
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
    add_lot(site, at, "SHIPPER", days=90, hold_hours=24 * 9)

    assert units(book(episode, at)) == [("SHIPPER-0", UnitStatus.ALLOCATED)]


@pytest.mark.parametrize(
    "lot",
    [{"days": 30, "released": False}, {"days": 7}, {"days": 30, "hold_hours": 24 * 7}, {"days": 30, "units": 0}],
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
    preparation.recall_lot(lot, reason="Sterility test", by=BY, at=at)
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


def test_a_held_day_that_a_recall_has_left_without_cells_is_booked_once_there_are_some(site, empty_store, episode, at):
    bad = add_lot(site, at, "BAD", days=30)
    option = search(episode, at).options[0]
    held = bookings.hold(episode, visit=P, option=option, by=BY, at=at)
    preparation.recall_lot(bad, reason="Sterility test", by=BY, at=at)

    with pytest.raises(cells.NoUnits, match="Only 0 of 1 units"):
        bookings.book(held, by=BY, at=at)
    add_lot(site, at, "GOOD", days=90)
    booked = bookings.book(held, by=BY, at=at)

    assert units(booked) == [("GOOD-0", UnitStatus.ALLOCATED)]


def test_the_earliest_day_gets_the_last_unit_after_a_recall(site, empty_store, episode, at):
    later = walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at, code=CODE)
    bad = add_lot(site, at, "BAD", days=30, units=2)
    second = book(later, at, search(later, at, weekdays={4}).options[0])
    first = book(episode, at)
    add_lot(site, at, "GOOD", days=60)

    preparation.recall_lot(bad, reason="Sterility test", by=BY, at=at)

    assert units(first) == [("GOOD-0", UnitStatus.ALLOCATED)]
    assert list(cells.lacking_units()) == [second]
    assert StatusChange.objects.filter(subject_id=second.pk).latest("pk").reason == (
        "Its lot was recalled. Only 0 of 1 units of Disc progenitor cells are released, unreserved and in date until "
        "Fri 15 May 2026, 10:00 (Chicago). Not to be given: 2 recalled, 1 reserved. Receive and release more, or "
        "choose another day."
    )


def test_a_quarantine_is_looked_after_like_a_recall(site, empty_store, episode, at):
    doubtful = add_lot(site, at, "DOUBTFUL", days=30)
    appointment = book(episode, at)

    preparation.quarantine_lot(doubtful, reason="The alarm went", by=BY, at=at)

    assert units(appointment) == []
    assert list(cells.lacking_units()) == [appointment]

    preparation.release_lot(doubtful, reason="A false alarm", by=BY, at=at)
    preparation.replace_unit(appointment, by=BY, at=at)

    assert units(appointment) == [("DOUBTFUL-0", UnitStatus.ALLOCATED)]


def test_a_delivery_that_fails_its_check_takes_its_units_back(site, empty_store, episode, at):
    lot = add_lot(site, at, "L", days=30)
    add_lot(site, at, "GOOD", days=60)
    appointment = book(episode, at)

    check(lot, at, shipper=Shipper.DAMAGED)

    assert units(appointment) == [("GOOD-0", UnitStatus.ALLOCATED)]


def test_a_cancelled_day_is_given_nothing_when_its_old_lot_is_recalled(site, empty_store, episode, at):
    bad = add_lot(site, at, "BAD", days=30)
    add_lot(site, at, "GOOD", days=60)
    bookings.cancel(book(episode, at), reason="The patient asked", by=BY, at=at)

    preparation.recall_lot(bad, reason="Sterility test", by=BY, at=at)

    assert not Unit.objects.filter(appointment__isnull=False).exists()


# A day that is affected is on its list at once, however it came about: the list is a question, not a mark.


def expire(appointment):
    Lot.objects.update(expires_at=cells.needed_until(appointment) - timedelta(seconds=1))


def leave_in_shipper(appointment):
    Unit.objects.update(shipper_hold_until=cells.needed_until(appointment) - timedelta(seconds=1))


def widen_the_margin(appointment):
    Product.objects.update(expiry_margin_minutes=60 * 24 * 365)


def change_status(appointment):
    Lot.objects.update(status=LotStatus.QUARANTINED)


def drop_it(appointment):
    preparation.discard(cells.of(appointment).get(), reason="Dropped", by=BY, at=appointment.changed_at)


@pytest.mark.parametrize("happens", [expire, leave_in_shipper, widen_the_margin, change_status, drop_it])
def test_whatever_happens_to_its_unit_the_day_is_on_the_list_in_that_moment(site, empty_store, episode, at, happens):
    add_lot(site, at, "L", days=30)
    appointment = book(episode, at)
    assert not cells.lacking_units().exists()

    happens(appointment)

    assert [(day, day.units_in_hand) for day in cells.lacking_units()] == [(appointment, 0)]


def test_a_unit_good_until_the_very_end_is_enough(site, empty_store, episode, at):
    add_lot(site, at, "L", days=30)
    appointment = book(episode, at)

    Lot.objects.update(expires_at=cells.needed_until(appointment))
    Unit.objects.update(shipper_hold_until=cells.needed_until(appointment))

    assert not cells.lacking_units().exists()


def test_a_unit_that_will_be_out_of_date_is_replaced(site, empty_store, episode, at):
    add_lot(site, at, "OLD", days=30)
    appointment = book(episode, at)
    expire(appointment)
    add_lot(site, at, "NEW", days=60)

    preparation.replace_unit(appointment, by=BY, at=at)

    assert units(appointment) == [("NEW-0", UnitStatus.ALLOCATED)]
    assert Unit.objects.get(identifier="OLD-0").status == UnitStatus.RECEIVED


def test_a_replacement_that_is_not_there_leaves_the_day_as_it_was(site, empty_store, episode, at):
    add_lot(site, at, "OLD", days=30)
    appointment = book(episode, at)
    expire(appointment)

    with pytest.raises(cells.NoUnits):
        preparation.replace_unit(appointment, by=BY, at=at)

    assert units(appointment) == [("OLD-0", UnitStatus.ALLOCATED)]
    assert list(cells.lacking_units()) == [appointment]


# The edges of being in date


@pytest.mark.parametrize("margin_minutes", [0, 90])
@pytest.mark.parametrize(("seconds", "given"), [(0, 1), (-1, 0)], ids=["to the second", "a second short"])
@pytest.mark.parametrize("what", ["expiry", "hold"])
def test_a_unit_lasts_until_the_injection_has_ended_and_the_margin(
    site, empty_store, episode, at, what, seconds, given, margin_minutes
):
    lot = add_lot(site, at, "L", days=30)
    appointment = book(episode, at)
    later = search(episode, at, ignore=appointment, weekdays={3}).options[0]
    Product.objects.update(expiry_margin_minutes=margin_minutes)
    ends = next(step.end for step in later.steps if step.code == StepCode.INJECTION)
    until = ends + timedelta(minutes=margin_minutes, seconds=seconds)
    if what == "expiry":
        Lot.objects.filter(pk=lot.pk).update(expires_at=until)
    else:
        Unit.objects.filter(lot=lot).update(shipper_hold_until=until)

    try:
        bookings.move(appointment, option=later, reason="The patient asked", by=BY, at=at)
    except cells.NoUnits:
        assert given == 0
    else:
        assert given == 1


# The dose


def ask_for(dose):
    Protocol.objects.filter(code=CODE).update(dose_million=dose)


def test_only_the_dose_of_the_protocol_is_given(site, empty_store, episode, at):
    ask_for(9)
    add_lot(site, at, "LOW", days=10, dose=3)
    add_lot(site, at, "UNKNOWN", days=20)
    add_lot(site, at, "HIGH", days=30, dose="9.00")
    episode = Episode.objects.get(pk=episode.pk)

    assert units(book(episode, at)) == [("HIGH-0", UnitStatus.ALLOCATED)]


def test_a_search_knows_that_another_dose_does_not_help(site, empty_store, episode, at):
    ask_for(9)
    add_lot(site, at, "LOW", days=10, dose=3)

    found = search(Episode.objects.get(pk=episode.pk), at)

    assert (found.options, found.shortage.sentence[:52]) == ((), "This procedure takes 1 of Disc progenitor cells from")


# Chosen by hand


@pytest.fixture
def appointment(site, empty_store, episode, at):
    """A day with EARLY-0; LATE-0 is free."""
    add_lot(site, at, "LATE", days=90)
    add_lot(site, at, "EARLY", days=30)
    return book(episode, at)


def unit(identifier):
    return Unit.objects.get(identifier=identifier)


def choose(appointment, identifier, at, reason="Same donor as last time"):
    return preparation.choose_unit(appointment, unit=unit(identifier), reason=reason, by=BY, at=at)


def test_another_unit_is_chosen_with_a_reason_that_is_kept(appointment, at):
    with pytest.raises(StepRefused, match="Say why"):
        choose(appointment, "LATE-0", at, reason=" ")

    chosen = choose(appointment, "LATE-0", at)

    assert units(appointment) == [("LATE-0", UnitStatus.ALLOCATED)]
    assert (chosen.chosen_because, unit("EARLY-0").status) == ("Same donor as last time", UnitStatus.RECEIVED)
    change = StatusChange.objects.filter(subject_id=chosen.pk).latest("pk")
    assert (change.by, change.reason) == (BY, "Chosen: Same donor as last time")


def test_a_day_that_moves_is_given_units_in_order_again(appointment, episode, at):
    choose(appointment, "LATE-0", at)
    later = search(episode, at, ignore=appointment, weekdays={4}).options[0]

    moved = bookings.move(appointment, option=later, reason="The patient asked", by=BY, at=at)

    assert units(moved) == [("EARLY-0", UnitStatus.ALLOCATED)]
    assert unit("LATE-0").chosen_because == ""


WRONG = {
    "expired": ({"days": 7}, "its lot expires on Mon 11 May 2026, 09:00"),
    "quarantined": ({"days": 60, "released": False}, "its lot is quarantined"),
    "in its shipper": ({"days": 60, "hold_hours": 24 * 7}, "its shipper holds it until Mon 11 May 2026, 09:00"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_no_reason_is_good_enough_for_cells_that_may_not_be_used(appointment, site, at, wrong):
    given, why = WRONG[wrong]
    add_lot(site, at, "WRONG", **given)

    with pytest.raises(cells.UnitUnfit, match=f"Unit WRONG-0 cannot be given to this day: {why}"):
        choose(appointment, "WRONG-0", at)
    assert units(appointment) == [("EARLY-0", UnitStatus.ALLOCATED)]


def test_neither_a_recalled_nor_a_reserved_unit_is_chosen(appointment, site, at):
    other = book(walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at, code=CODE), at)
    assert units(other) == [("LATE-0", UnitStatus.ALLOCATED)]
    with pytest.raises(cells.UnitUnfit, match="it is allocated"):
        choose(appointment, "LATE-0", at)

    recalled = add_lot(site, at, "BAD", days=60)
    preparation.recall_lot(recalled, reason="Sterility test", by=BY, at=at)

    with pytest.raises(cells.UnitUnfit, match="its lot is recalled"):
        choose(appointment, "BAD-0", at)


def test_another_dose_product_or_clinic_is_not_chosen(appointment, site, other_site, at):
    ask_for(9)
    with pytest.raises(cells.UnitUnfit, match="it holds an unknown number of million cells, and 9 are wanted"):
        choose(appointment, "LATE-0", at)
    ask_for(None)
    lot = unit("LATE-0").lot

    Lot.objects.filter(pk=lot.pk).update(site=other_site)
    with pytest.raises(cells.UnitUnfit, match="it is kept at Harbour Clinic"):
        choose(appointment, "LATE-0", at)

    Lot.objects.filter(pk=lot.pk).update(site=site, product=Product.objects.get(code="umbilical-cord-msc"))
    with pytest.raises(cells.UnitUnfit, match="it is Umbilical-cord stromal cells"):
        choose(appointment, "LATE-0", at)


def test_what_a_day_has_is_not_chosen_again(appointment, at):
    with pytest.raises(StepRefused, match="belongs to this day already"):
        choose(appointment, "EARLY-0", at)


def test_a_day_that_is_over_chooses_nothing(appointment, at):
    bookings.cancel(appointment, reason="The patient asked", by=BY, at=at)

    with pytest.raises(StepRefused, match="is Cancelled; it needs no cells"):
        choose(appointment, "LATE-0", at)


def test_a_day_of_the_patients_own_cells_chooses_nothing(appointment, site, at):
    own = walk.book(walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at), at=at)

    with pytest.raises(StepRefused, match="takes no units from store"):
        choose(own, "LATE-0", at)


def test_a_thawed_unit_is_not_exchanged(appointment, at):
    day = bookings.arrive(appointment, by=BY, at=appointment.during.lower)
    preparation.thaw(cells.of(day).get(), matched_by=("Ines", "Tomas"), by=BY, at=day.during.lower)

    with pytest.raises(StepRefused, match="Every unit of this day is thawed already"):
        choose(day, "LATE-0", at)


def test_what_is_counted_against_a_unit_is_what_the_stock_is_asked_for(appointment, site, other_site, at):
    """The same rule in SQL, to find the next, and in Python, to say why not: five hundred units of every kind."""
    ask_for(9)
    dice = Random(7)
    appointment = Appointment.objects.get(pk=appointment.pk)
    until = cells.needed_until(appointment)
    around = [until + timedelta(seconds=seconds) for seconds in (-86400, -1, 0, 1, 86400)]
    products = [appointment.episode.protocol.product] * 4 + [Product.objects.get(code="umbilical-cord-msc")]
    lots = Lot.objects.bulk_create(
        Lot(
            site=dice.choice([site, site, site, other_site]),
            product=dice.choice(products),
            number=f"R-{n}",
            expires_at=dice.choice(around),
            dose_million=dice.choice([9, 9, 9, 3, None]),
            status=dice.choice([LotStatus.RELEASED, LotStatus.RELEASED, *LotStatus]),
        )
        for n in range(500)
    )
    Unit.objects.bulk_create(
        Unit(
            lot=lot,
            identifier=f"{lot.number}-0",
            received_at=at,
            shipper_hold_until=dice.choice([None, None, *around]),
            status=(status := dice.choice([UnitStatus.RECEIVED, UnitStatus.RECEIVED, UnitStatus.ALLOCATED])),
            appointment=appointment if status == UnitStatus.ALLOCATED else None,
        )
        for lot in lots
    )

    found = set(cells.fitting(appointment).values_list("identifier", flat=True))

    stored = Unit.objects.select_related("lot__site", "lot__product")
    assert found == {unit.identifier for unit in stored if not any(cells.hindrances(unit, appointment, until=until))}
    assert 10 < len(found) < 100


# The clock of a thawed unit


def test_the_thaw_is_planned_back_from_the_injection(appointment):
    starts = appointment.steps.get(code=StepCode.INJECTION).during.lower

    assert cells.thaw_at(appointment) == starts - timedelta(minutes=30)


def test_a_moved_day_moves_its_thaw(appointment, episode, at):
    later = search(episode, at, ignore=appointment, weekdays={4}).options[0]

    moved = bookings.move(appointment, option=later, reason="The patient asked", by=BY, at=at)

    assert cells.thaw_at(moved) == moved.steps.get(code=StepCode.INJECTION).during.lower - timedelta(minutes=30)


def thawed(appointment, *, minutes_before):
    day = bookings.arrive(appointment, by=BY, at=appointment.during.lower)
    starts = day.steps.get(code=StepCode.INJECTION).during.lower
    at = starts - timedelta(minutes=minutes_before)
    return preparation.thaw(cells.of(day).get(), matched_by=("Ines", "Tomas"), by=BY, at=at), starts


def test_a_thawed_unit_is_on_the_list_once_its_time_is_over(appointment):
    unit, starts = thawed(appointment, minutes_before=30)
    use_by = starts + timedelta(minutes=90)

    assert cells.use_by(Unit.objects.get(pk=unit.pk)) == use_by
    assert list(cells.past_use_by(at=use_by)) == []
    assert list(cells.past_use_by(at=use_by + timedelta(seconds=1))) == [unit]


@pytest.mark.parametrize(("minutes", "listed"), [(120, 0), (121, 1)])
def test_a_unit_thawed_too_early_for_its_injection_is_on_the_list_at_once(appointment, minutes, listed):
    """As when the injection slips: its start is past the use-by, though the use-by itself is still to come."""
    unit, _ = thawed(appointment, minutes_before=30)
    injection = appointment.steps.get(code=StepCode.INJECTION)
    starts = unit.thaw_started_at + timedelta(minutes=minutes)
    AppointmentStep.objects.filter(pk=injection.pk).update(
        during=DateTimeTZRange(starts, starts + timedelta(minutes=60))
    )

    assert cells.past_use_by(at=unit.thaw_started_at).count() == listed


def test_a_product_that_lost_its_limit_is_not_injected_by_guess(appointment):
    unit, _ = thawed(appointment, minutes_before=30)
    Product.objects.update(post_thaw_limit_minutes=None)

    assert list(cells.past_use_by(at=unit.thaw_started_at)) == [unit]


@pytest.mark.parametrize("column", ["thaw_minutes", "post_thaw_limit_minutes"])
def test_a_product_without_its_times_is_not_booked(site, episode, at, column):
    Product.objects.filter(pk=episode.protocol.product_id).update(**{column: None})

    found = search(Episode.objects.get(pk=episode.pk), at)

    missing = {"thaw_minutes": "thaw time", "post_thaw_limit_minutes": "post-thaw limit"}[column]
    assert found.options == ()
    assert found.shortage.sentence.startswith(f"Disc progenitor cells has no {missing}.")


# The dry shipper


def test_what_is_in_a_shipper_is_on_the_list_until_it_is_moved_or_gone(site, empty_store, at):
    add_lot(site, at, "TANK", days=30)
    add_lot(site, at, "LATER", days=30, hold_hours=48)
    add_lot(site, at, "SOON", days=30, units=2, hold_hours=24)
    assert [unit.identifier for unit in cells.in_shippers()] == ["SOON-0", "SOON-1", "LATER-0"]

    preparation.store_unit(unit("SOON-0"), storage="Tank 2", by=BY, at=at)
    preparation.discard(unit("SOON-1"), reason="Dropped", by=BY, at=at)

    assert [unit.identifier for unit in cells.in_shippers()] == ["LATER-0"]


def test_the_patients_own_cells_come_from_no_store(patient, at):
    appointment = walk.book(walk.open_episode(patient, at=at), at=at)

    assert cells.of(appointment).count() == 0


@pytest.mark.parametrize("names", [("Ines", "Ines"), ("Ines", " ines "), ("Ines", ""), ("Ines",), ()])
def test_a_match_takes_two_people(names):
    with pytest.raises(StepRefused, match="Two different people"):
        cells.two_people(names)


def test_both_who_matched_are_kept():
    assert cells.two_people(("Ines  Moreau", "Peter Novak")) == "Ines Moreau and Peter Novak"
