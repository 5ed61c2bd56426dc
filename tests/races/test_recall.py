"""Recalls while others book from the same lots: nobody keeps a unit of a recalled lot, and nobody deadlocks."""

import pytest

from clinic.status import StepRefused
from followup import demo, instruments
from followup.demo import walk
from scheduling import bookings, cells, diary, preparation, protocols
from scheduling.models import Appointment, Lot, Unit
from scheduling.models.protocol import Visit
from scheduling.states import LotStatus, UnitStatus
from tests.races.test_double_booking import AT, MONDAY, at_once, deadlocks, patients

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

CODE = "disc-progenitor-allogeneic"
P = Visit.PROCEDURE


@pytest.fixture
def lots(transactional_db, monkeypatch):
    """Six lots of two units each, of one product."""
    monkeypatch.setattr(diary, "LOCK_TIMEOUT", "60s")
    protocols.load_all(at=AT)
    instruments.load_all(at=AT)
    site = demo.found_clinic()
    demo.complete_products()
    for _ in range(6):
        demo.stock_cells(site, at=AT, units=2)
    return list(Lot.objects.filter(product__code="disc-progenitor-cells").order_by("pk"))


def recall(lot):
    """As a person would: again, if the desk says so."""
    while True:
        try:
            return preparation.recall_lot(lot, reason="Sterility test", by=walk.BY, at=AT)
        except StepRefused as refused:
            if "Do it again" not in str(refused):
                raise


def test_lots_are_recalled_while_patients_are_booked_from_them(lots):
    episodes = patients(lots[0].site, 9, code=CODE)
    options = bookings.find(episodes[0], visit=P, earliest=MONDAY, at=AT, limit=9, per_day=1).options
    first = [
        bookings.book_at(episode, visit=P, option=option, by=walk.BY, at=AT)
        for episode, option in zip(episodes[:4], options[:4], strict=True)
    ]
    before = deadlocks()

    answers = at_once(
        [
            *(lambda lot=lot: recall(lot) for lot in (lots[1], lots[0], lots[4])),
            *(
                lambda episode=episode, option=option: bookings.book_at(
                    episode, visit=P, option=option, by=walk.BY, at=AT
                )
                for episode, option in zip(episodes[4:], options[4:], strict=True)
            ),
            *(lambda day=day: bookings.cancel(day, reason="racing", by=walk.BY, at=AT) for day in first[2:]),
        ]
    )

    assert [answer for answer in answers if isinstance(answer, Exception) and not isinstance(answer, StepRefused)] == []
    assert deadlocks() == before
    assert not Unit.objects.filter(lot__status=LotStatus.RECALLED, status=UnitStatus.ALLOCATED).exists()
    lacking = set(cells.lacking_units())
    for day in Appointment.objects.filter(status="booked"):
        assert (cells.of(day).count() == 1) != (day in lacking)
    assert not Unit.objects.filter(appointment__status="cancelled").exists()


def test_two_people_choose_the_same_unit_and_one_gets_it(lots):
    episodes = patients(lots[0].site, 4, code=CODE)
    options = bookings.find(episodes[0], visit=P, earliest=MONDAY, at=AT, limit=4, per_day=1).options
    days = [
        bookings.book_at(episode, visit=P, option=option, by=walk.BY, at=AT)
        for episode, option in zip(episodes, options, strict=True)
    ]
    wanted = Unit.objects.filter(lot=lots[5]).first()

    answers = at_once(
        [lambda day=day: preparation.choose_unit(day, unit=wanted, reason="racing", by=walk.BY, at=AT) for day in days]
    )

    assert sum(isinstance(answer, Unit) for answer in answers) == 1
    assert sum(isinstance(answer, cells.UnitUnfit) for answer in answers) == 3
    assert [cells.of(day).count() for day in days] == [1] * 4
