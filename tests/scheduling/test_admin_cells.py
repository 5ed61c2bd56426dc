"""Cells at the desk: how a lot came, which unit is chosen, what is over, and what the first page says of it."""

from datetime import timedelta

import pytest
import time_machine
from django.urls import reverse

from clinic.admin import show
from followup.demo import walk
from scheduling import bookings, cells, preparation
from scheduling.models import Lot, Product, Unit
from scheduling.models.protocol import StepCode
from scheduling.states import LotStatus
from tests.desk import Desk, offered, said

PAIR = ("Ines Moreau", "Tomas Varga")
GONE = "Thawed cells that must not be injected any more"
IN_SHIPPERS = "Cells still in their shipper"


@pytest.fixture(autouse=True)
def now(at):
    with time_machine.travel(at, tick=False):
        yield at


@pytest.fixture
def desk(coordinator):
    return Desk(coordinator)


@pytest.fixture
def appointment(patient, at):
    return walk.book(walk.open_episode(patient, at=at, code="disc-progenitor-allogeneic"), at=at)


@pytest.fixture
def thawed(appointment):
    """A unit thawed half an hour before the booked start, and that start."""
    day = bookings.arrive(appointment, by=walk.BY, at=appointment.during.lower)
    starts = day.steps.get(code=StepCode.INJECTION).during.lower
    unit = preparation.thaw(cells.of(day).get(), matched_by=PAIR, by=walk.BY, at=starts - timedelta(minutes=30))
    return unit, starts


def queue(desk, title):
    looks = desk.client.get(reverse("admin:index")).context["queues"]
    return next(look for look in looks if look.queue.title == title)


def words(response):
    return " ".join(response.content.decode().split())


def test_the_page_of_a_lot_says_how_it_came_and_who_looked(desk, site, at):
    lot = preparation.receive_lot(
        Product.objects.get(code="disc-progenitor-cells"),
        site=site,
        number="L-9",
        expires_at=at + timedelta(days=90),
        by=walk.BY,
        at=at,
    )
    found = {"shipper": "damaged", "units_announced": "4", "units_counted": "3", "checked_by": "Tomas Varga"}

    answer = desk.take(lot, "check", celsius="-160", **found)

    assert said(answer) == (
        "Checked: Disc progenitor cells lot L-9 stays in quarantine. The shipper was damaged or opened. "
        "Units announced: 4, counted: 3."
    )
    page = words(desk.page(lot))
    assert "3 of 4 units" in page
    assert "Tomas Varga" in page
    assert "-160.0 °C" in page


def test_a_check_is_signed_by_somebody_who_works_here(desk, site):
    form = desk.ask(Lot.objects.filter(site=site).first(), "check").context["form"]

    assert [name for name, _ in form.fields["checked_by"].choices][1:] == sorted(
        resource.name for resource in site.resources.filter(practitioner__isnull=False)
    )


def test_a_lot_goes_back_into_quarantine_and_its_days_are_looked_after(desk, appointment):
    lot = cells.of(appointment).get().lot

    answer = desk.take(lot, "quarantine", reason="The alarm went.")

    lot.refresh_from_db()
    assert lot.status == LotStatus.QUARANTINED
    assert said(answer).endswith("Next: look at the booked procedures that need another unit.")
    assert queue(desk, "Procedures without their cells").count == 1


def test_another_unit_is_chosen_from_those_that_may_be_given(desk, appointment):
    offer = list(desk.ask(appointment, "choose-unit").context["form"].fields["unit"].queryset)
    fitting = list(cells.fitting(appointment))
    other = offer[-1]

    silent = desk.take(appointment, "choose-unit", unit=str(other.pk), reason=" ")
    answer = desk.take(appointment, "choose-unit", unit=str(other.pk), reason="Same donor as last time.")

    assert offer == fitting
    assert silent.context["form"].errors.keys() == {"reason"}
    assert said(answer) == f"Unit {other.identifier} is given to this day."
    assert list(desk.list(Unit, chosen="yes").context["cl"].result_list) == [other]


def test_a_quarantined_unit_is_not_even_offered(desk, appointment):
    Lot.objects.update(status=LotStatus.QUARANTINED)
    unit = Unit.objects.exclude(appointment=appointment).first()

    answer = desk.take(appointment, "choose-unit", unit=str(unit.pk), reason="Urgent.")

    assert answer.context["form"].errors.keys() == {"unit"}


def test_a_day_of_the_patients_own_cells_offers_no_units(desk, patient, at):
    day = walk.book(walk.open_episode(patient, at=at), at=at)

    assert "Choose another unit" not in offered(desk.page(day))


def test_a_thawed_unit_says_until_when_it_may_be_injected(desk, thawed):
    unit, starts = thawed
    use_by = show.when(starts + timedelta(minutes=90), "America/Chicago")

    with time_machine.travel(starts, tick=False):
        assert use_by in words(desk.page(unit))
        assert use_by in words(desk.page(unit.appointment))
        assert "too late for its cells" not in words(desk.page(unit.appointment))
        assert queue(desk, GONE).count == 0


def test_an_injection_that_slipped_past_its_cells_turns_red_and_is_on_the_first_page(desk, thawed):
    unit, starts = thawed
    use_by = starts + timedelta(minutes=90)

    with time_machine.travel(use_by + timedelta(minutes=1), tick=False):
        red = words(desk.page(unit.appointment))
        over = queue(desk, GONE)

    assert 'state-stop"><span aria-hidden="true">✕</span> Injection: too late for its cells' in red
    assert [(line.who, line.what) for line in over.lines] == [
        ("Reyes, Marta", f"unit {unit.identifier} could be used until {show.when(use_by, 'America/Chicago')}")
    ]
    assert over.lines[0].url == show.step_page(unit, "discard")


def test_a_discarded_unit_leaves_the_first_page(desk, thawed):
    unit, starts = thawed

    with time_machine.travel(starts + timedelta(hours=3), tick=False):
        desk.take(unit, "discard", reason="The C-arm failed.")
        assert queue(desk, GONE).count == 0


def test_a_unit_in_its_shipper_waits_on_the_first_page_until_it_is_moved(desk, appointment, at):
    unit = cells.of(appointment).get()
    Unit.objects.filter(pk=unit.pk).update(shipper_hold_until=at + timedelta(days=2))
    waiting = queue(desk, IN_SHIPPERS)

    answer = desk.take(unit, "store", storage="Tank 2")

    assert [(line.what, line.action) for line in waiting.lines] == [
        ("held until Wed 6 May 2026, 09:00 (Chicago)", "Move into storage")
    ]
    assert said(answer) == f"Unit {unit.identifier} is kept in Tank 2."
    assert queue(desk, IN_SHIPPERS).count == 0


def test_a_unit_that_its_shipper_holds_no_longer_is_to_be_discarded(desk, appointment, at):
    unit = cells.of(appointment).get()
    Unit.objects.filter(pk=unit.pk).update(shipper_hold_until=at - timedelta(minutes=1))

    (line,) = queue(desk, IN_SHIPPERS).lines

    assert (line.action, line.url) == ("Discard", show.step_page(unit, "discard"))
    assert queue(desk, "Procedures without their cells").count == 1


def test_the_neighbours_cells_are_on_nobody_elses_page(stranger, thawed):
    _, starts = thawed

    with time_machine.travel(starts + timedelta(hours=3), tick=False):
        looks = Desk(stranger).client.get(reverse("admin:index")).context["queues"]

    assert {look.count for look in looks if look.queue.title in (GONE, IN_SHIPPERS)} == {0}
