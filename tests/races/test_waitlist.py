"""Workers and a patient at the same offer, each with a connection of its own: one offer, one answer, one booking."""

from datetime import timedelta

import pytest

from clinic.status import StepRefused
from followup.demo import walk
from scheduling import bookings, waitlist
from scheduling.models import Appointment, Reservation, WaitlistEntry, WaitlistOffer
from scheduling.models.protocol import Visit
from scheduling.states import AppointmentStatus, OfferStatus, WaitlistStatus
from tests.races.test_double_booking import AT, at_once, clinic, patience, patients

__all__ = ["clinic", "patience"]
pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

P = Visit.PROCEDURE
BY = walk.BY


@pytest.fixture
def waiting(clinic):
    """Three patients booked three weeks ahead who wait for a sooner day, and one such day given up."""
    first, *others = patients(clinic, 4)
    gone = walk.book(first, at=AT, days_ahead=7)
    for episode in others:
        walk.book(episode, at=AT, days_ahead=21)
        waitlist.add(episode, visit=P, by=BY, at=AT)
    bookings.cancel(gone, reason="Ill", by=BY, at=AT)
    return WaitlistEntry.objects.all()


def test_eight_workers_make_one_offer_and_hold_once(waiting):
    ended = at_once([lambda: waitlist.sweep(at=AT)] * 8)

    assert [end for end in ended if isinstance(end, Exception)] == []
    assert WaitlistOffer.objects.filter(status=OfferStatus.OPEN).count() == 1
    assert WaitlistOffer.objects.count() == 1
    assert Appointment.objects.filter(status=AppointmentStatus.HELD).count() == 1


def test_a_patient_who_presses_everything_at_once_while_workers_sweep_ends_with_one_booking(waiting):
    waitlist.sweep(at=AT)
    offer = WaitlistOffer.objects.select_related("entry__episode").get()
    soon = AT + timedelta(hours=1)
    answers = [
        lambda: waitlist.accept(offer, by="patient", at=soon),
        lambda: waitlist.decline(offer, by="patient", at=soon),
        lambda: waitlist.leave(offer.entry, by="patient", at=soon),
    ]

    ended = at_once([*answers * 3, *[lambda: waitlist.sweep(at=soon)] * 3])

    assert [end for end in ended if isinstance(end, Exception) and not isinstance(end, StepRefused)] == []
    mine = Appointment.objects.filter(episode=offer.entry.episode)
    assert mine.filter(status=AppointmentStatus.BOOKED).count() == 1
    assert mine.filter(status=AppointmentStatus.HELD).count() == 0
    assert WaitlistOffer.objects.get(pk=offer.pk).status in (OfferStatus.ACCEPTED, OfferStatus.DECLINED)
    assert WaitlistEntry.objects.get(pk=offer.entry_id).status in (WaitlistStatus.PLACED, WaitlistStatus.LEFT)
    kept = Reservation.objects.filter(step__appointment__episode=offer.entry.episode, live=True)
    assert kept.values("step__appointment").distinct().count() == 1


def test_an_acceptance_and_the_end_of_the_treatment_at_once_leave_nothing_half_done(waiting):
    waitlist.sweep(at=AT)
    offer = WaitlistOffer.objects.select_related("entry__episode").get()
    soon = AT + timedelta(hours=1)

    def give_up():
        return bookings.cancel_episode(offer.entry.episode, reason="Feels better", by=BY, at=soon)

    ended = at_once([lambda: waitlist.accept(offer, by="patient", at=soon), give_up])
    if isinstance(ended[1], StepRefused):  # it saw the acceptance half-way and asked to be taken again
        give_up()

    assert not Reservation.objects.filter(step__appointment__episode=offer.entry.episode, live=True).exists()
