"""A patient answers an offer off the waitlist on a phone, without JavaScript."""

import pytest
from django.urls import reverse

from clinic import links
from followup.demo import walk
from scheduling import bookings, waitlist
from scheduling.models import WaitlistOffer
from scheduling.models.protocol import Visit
from scheduling.states import OfferStatus
from tests.browser.test_survey import chromium, phone, pytestmark, shots

__all__ = ["chromium", "phone", "pytestmark", "shots"]


@pytest.fixture
def offer(site, at, live_server, time_machine):
    """An offer to a patient who is booked later, and the address of its page."""
    time_machine.move_to(at)
    gone, waits = (walk.open_episode(walk.register(site, at=at, mrn=f"MRN-{n}"), at=at) for n in (1, 2))
    first = walk.book(gone, at=at, days_ahead=7)
    walk.book(waits, at=at, days_ahead=21)
    waitlist.add(waits, visit=Visit.PROCEDURE, by=walk.BY, at=at)
    bookings.cancel(first, reason="Ill", by=walk.BY, at=at)
    waitlist.sweep(at=at)
    made = WaitlistOffer.objects.get()
    link = links.link_to(made, purpose="waitlist", site=site)
    return made, live_server.url + reverse("waitlist", args=[links.token_of(link)])


def test_a_time_is_taken_by_thumb_without_javascript(offer, phone, shots):
    made, address = offer
    page = phone(java_script_enabled=False)

    page.goto(address)
    shots(page, "waitlist-offer")
    page.get_by_role("link", name="I take this time").tap()
    shots(page, "waitlist-accept")
    page.get_by_role("button", name="Yes, move my appointment").tap()
    page.get_by_role("heading", name="The time is yours").wait_for()
    shots(page, "waitlist-accepted")

    made.refresh_from_db()
    assert made.status == OfferStatus.ACCEPTED
    assert waitlist.booked(made.entry.episode, Visit.PROCEDURE).during == made.during


def test_a_time_is_declined_and_the_list_left_afterwards(offer, phone, shots):
    made, address = offer
    page = phone(color_scheme="dark")

    page.goto(address)
    page.get_by_role("link", name="No, not this time").tap()
    page.get_by_role("button", name="No, not this time").tap()
    shots(page, "waitlist-declined")
    page.get_by_role("link", name="Leave the waitlist").tap()
    page.get_by_role("button", name="Yes, leave the waitlist").tap()
    page.get_by_role("heading", name="You have left the waitlist").wait_for()

    made.refresh_from_db()
    assert (made.status, made.entry.status) == (OfferStatus.DECLINED, "left")
