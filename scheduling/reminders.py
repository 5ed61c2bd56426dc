"""Who should hear from us about an appointment now: it was booked, moved or cancelled, or it is near. Leaves one
Message for each thing to say about each version of it."""

from collections.abc import Iterator
from datetime import datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.urls import reverse

from clinic import clock, languages, links, messages
from clinic.models import Category, Message
from clinic.models.links import Purpose
from clinic.states import MessageStatus
from scheduling.models import Appointment, WaitlistOffer
from scheduling.states import AppointmentStatus, OfferStatus

A = AppointmentStatus

BOOKED, MOVED, CANCELLED = "appointment.booked", "appointment.moved", "appointment.cancelled"
REMINDER = "appointment.reminder"
HEARD = (MessageStatus.SENDING, MessageStatus.SENT, MessageStatus.UNKNOWN)  # the patient has, or may have, read it
COMING = (A.BOOKED, A.CONFIRMED)

# Three days and one day before: 4.4 % missed against 5.3 to 5.8 % with one reminder (n = 54,066, PMID 30130032). Seven
# days before leave the clinic time to give the day to somebody else.
DAYS_BEFORE = {"7d": 7, "3d": 3, "1d": 1}
HOUR = time(9)  # on the clinic's clock
LATEST_START = timedelta(hours=16)  # an appointment starts at most this long after HOUR (and the clocks' change)

# Every appointment ahead that lacks a message, with what was said about it. A sweep runs every few seconds and mostly
# finds nothing, so it asks once, and in plain SQL: building the same question by the ORM costs ten times the answer.
UNTOLD = """
SELECT a.id, a.site_id, a.status, a.version, a.during, a.changed_at, e.patient_id, s.time_zone,
       said.told, said.reminded
  FROM scheduling_appointment a
  JOIN scheduling_episode e ON e.id = a.episode_id
  JOIN clinic_patient p ON p.id = e.patient_id AND NOT p.deceased
  JOIN clinic_site s ON s.id = a.site_id
 CROSS JOIN LATERAL (
       SELECT count(*) FILTER (WHERE m.kind IN (%(booked)s, %(moved)s) AND m.version = a.version) > 0 AS told,
              count(*) FILTER (WHERE m.status = ANY(%(heard)s)) > 0 AS heard,
              count(*) FILTER (WHERE m.kind = %(cancelled)s) > 0 AS told_of_the_end,
              array_remove(array_agg(CASE WHEN m.kind = %(reminder)s AND m.version = a.version THEN m.occasion END),
                           NULL) AS reminded
         FROM clinic_message m
        WHERE m.kind IN (%(booked)s, %(moved)s, %(cancelled)s, %(reminder)s) AND m.about = a.id::text) said
 WHERE lower(a.during) > %(at)s
   AND (a.status IN ('booked', 'confirmed')
        AND (NOT said.told OR lower(a.during) < %(near)s AND coalesce(cardinality(said.reminded), 0) < %(reminders)s)
        OR a.status = 'cancelled' AND said.heard AND NOT said.told_of_the_end)
 ORDER BY lower(a.during), a.id
"""


def queue_due(*, at: datetime) -> int:
    """Queue what patients should hear about their appointments and have not been told. Returns how many."""
    terms = {
        "booked": BOOKED,
        "moved": MOVED,
        "cancelled": CANCELLED,
        "reminder": REMINDER,
        "heard": [status.value for status in HEARD],
        "at": at,
        "near": at + timedelta(days=max(DAYS_BEFORE.values())) + LATEST_START,
        "reminders": len(DAYS_BEFORE),
    }
    untold = Appointment.objects.raw(UNTOLD, terms)
    return messages.queue(message for appointment in untold for message in _missing(appointment, at=at))


def _missing(appointment: Any, *, at: datetime) -> Iterator[Message]:
    if appointment.status == A.CANCELLED:
        yield _message(appointment, CANCELLED, "cancelled", due_at=at)
        return
    if not appointment.told:
        moved = appointment.version > 1
        yield _message(appointment, MOVED if moved else BOOKED, "moved" if moved else "booked", due_at=at)
    yield from _reminders(appointment, at=at)


def _reminders(appointment: Any, *, at: datetime) -> Iterator[Message]:
    zone, starts_at = appointment.time_zone, appointment.during.lower
    day = clock.local_date(starts_at, zone)
    moments = [clock.at_local(day - timedelta(days=days), HOUR, zone) for days in DAYS_BEFORE.values()]
    useful_until = [*moments[1:], starts_at]  # after an outage: the latest one only
    for occasion, due_at, until in zip(DAYS_BEFORE, moments, useful_until, strict=True):
        # Who booked or moved after that moment has just been told, and needs no reminder of it.
        if appointment.changed_at < due_at <= at and occasion not in (appointment.reminded or ()):
            yield _message(appointment, REMINDER, occasion, due_at=due_at, not_after=until)


def _message(
    appointment: Any, kind: str, occasion: str, *, due_at: datetime, not_after: datetime | None = None
) -> Message:
    return Message(
        site_id=appointment.site_id,
        patient_id=appointment.patient_id,
        kind=kind,
        about=str(appointment.pk),
        occasion=occasion,
        version=appointment.version,
        due_at=due_at,
        not_after=not_after or appointment.during.lower,
    )


WHY_NOT: dict[str, str] = {
    A.HELD: "The time is only held.",
    A.BOOKED: "The appointment is booked after all.",
    A.CONFIRMED: "The appointment is booked after all.",
    A.ARRIVED: "The patient has already arrived.",
    A.FULFILLED: "The appointment has taken place.",
    A.CANCELLED: "The appointment was cancelled.",
    A.NOSHOW: "The patient did not come.",
}


class AboutAppointment(messages.Kind):
    wanted_while: tuple[str, ...] = COMING

    def still_wanted(self, message: Message, *, at: datetime) -> str:
        appointment = _appointment(message)
        if appointment.status not in self.wanted_while:
            return WHY_NOT[appointment.status]
        if appointment.version != message.version:
            return "The appointment has been moved since; another message says to when."
        return ""

    def words(self, message: Message, *, at: datetime) -> dict[str, Any]:
        start, zone, language = _appointment(message).during.lower, message.site.time_zone, languages.current()
        return {
            "when": clock.spoken(start, zone, language),
            "soon": clock.spoken_shortly(start, zone, language),
            "answer": self.answer(message),
        }

    def answer(self, message: Message) -> str:
        """Where the patient says that they will come, or asks for another time; "" if the desk has revoked it."""
        appointment = _appointment(message)
        if appointment.status not in COMING:
            return ""
        link = links.link_until(appointment, purpose=Purpose.VISIT, site=message.site, until=appointment.during.lower)
        return "" if link.revoked_at else settings.BASE_URL + reverse("visit", args=[links.token_of(link)])


class Booked(AboutAppointment):
    pass


class Moved(AboutAppointment):
    pass


class Reminder(AboutAppointment):
    pass


class Cancelled(AboutAppointment):
    wanted_while = (A.CANCELLED,)


class WaitlistOffered(messages.Kind):
    """Queued with the offer itself (`scheduling.waitlist`), because it is of use for hours only."""

    category = Category.WAITLIST

    def still_wanted(self, message: Message, *, at: datetime) -> str:
        offer = WaitlistOffer.objects.get(pk=message.about)
        if offer.status != OfferStatus.OPEN:
            return f"The offer is over: {offer.get_status_display().lower()}."
        return ""

    def words(self, message: Message, *, at: datetime) -> dict[str, Any]:
        offer = WaitlistOffer.objects.select_related("held__instead_of").get(pk=message.about)
        assert offer.during  # noqa: S101 - an_offer_says_what_and_until_when
        assert offer.until  # noqa: S101
        zone, has = message.site.time_zone, offer.held.instead_of if offer.held else None
        language = languages.current()
        token = links.token_of(links.link_to(offer, purpose=Purpose.WAITLIST, site=message.site))
        pages = {
            page: settings.BASE_URL + reverse(f"waitlist-{page}", args=[token])
            for page in ("accept", "decline", "leave")
        }
        pages["offer"] = settings.BASE_URL + reverse("waitlist", args=[token])
        return {
            "when": clock.spoken(offer.during.lower, zone, language),
            "soon": clock.spoken_shortly(offer.during.lower, zone, language),
            "until": clock.spoken(offer.until, zone, language),
            "until_soon": clock.spoken_shortly(offer.until, zone, language),
            "has": clock.spoken(has.during.lower, zone, language) if has else "",
            **pages,
        }


def _appointment(message: Message) -> Appointment:
    """Read once for each try, so that what was checked is what is said."""
    kept = vars(message)
    if "appointment" not in kept:
        kept["appointment"] = Appointment.objects.get(pk=message.about)
    return kept["appointment"]
