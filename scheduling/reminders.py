"""Who should hear from us about an appointment now: it was booked, moved or cancelled, it is near, or nobody knows
whether the patient will come. What is said when stands in the site's rules. Leaves one Message for each thing to say
about each version of it; the same derivation says what will be said (`forecast`)."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef
from django.urls import reverse

from clinic import ahead, clock, languages, links, messages
from clinic.ahead import Planned
from clinic.models import Category, Message, MessageRule, Patient, Site
from clinic.models.links import Purpose
from clinic.quiet import Quiet
from clinic.rules import OFF
from clinic.states import MessageStatus
from scheduling import invites
from scheduling.models import Appointment, WaitlistOffer
from scheduling.states import AppointmentStatus, OfferStatus

A = AppointmentStatus

BOOKED, MOVED, CANCELLED = "appointment.booked", "appointment.moved", "appointment.cancelled"
PREPARATION, REMINDER, UNCONFIRMED = "appointment.preparation", "appointment.reminder", "appointment.unconfirmed"
KINDS = (BOOKED, MOVED, CANCELLED, PREPARATION, REMINDER, UNCONFIRMED)
HEARD = (MessageStatus.SENDING, MessageStatus.SENT, MessageStatus.UNKNOWN)  # the patient has, or may have, read it
COMING = (A.BOOKED, A.CONFIRMED)

# Every appointment ahead for which a rule of its site has come due, or nearly, and no message was written. A sweep
# runs every few seconds and mostly finds nothing, so it asks once, and in plain SQL: building the same question by the
# ORM costs ten times the answer. How far ahead each rule reaches is worked out once; most appointments are farther, and
# then only their booking is looked up. When exactly a rule comes due is for `clinic.clock` to say, which differs from
# PostgreSQL where the clocks go back: `slack` reaches a little further, and a day further for what the quiet hours
# bring forward. A message is looked up by a subquery that cannot become a join: the planner would read all there are.
UNTOLD = """
WITH quiet AS (
    SELECT r.id, r.site_id, r.kind, r.occasion, r.visit, r.unit, r.amount, r.hour, r.since, s.time_zone,
           CASE WHEN s.quiet_from <= s.quiet_until AND r.hour >= s.quiet_from AND r.hour < s.quiet_until
                  OR s.quiet_from > s.quiet_until AND (r.hour >= s.quiet_from OR r.hour < s.quiet_until)
                  OR r.unit = 'hours'
           THEN interval '27 hours' ELSE interval '3 hours' END AS slack
      FROM clinic_messagerule r JOIN clinic_site s ON s.id = r.site_id
     WHERE r.in_use AND r.kind = ANY(%(kinds)s)),
rule AS MATERIALIZED (
    SELECT *, CASE unit
              WHEN 'hours' THEN %(until)s::timestamptz + slack + amount * interval '1 hour'
              WHEN 'days' THEN timezone(time_zone, ((timezone(time_zone, %(until)s::timestamptz + slack) - hour)::date
                                                    + amount + 1)::timestamp)
              ELSE 'infinity' END AS reach
      FROM quiet)
SELECT a.id, a.site_id, a.visit, a.status, a.version, a.during, a.changed_at, e.patient_id, s.time_zone, s.quiet_from,
       s.quiet_until, array_agg(r.id) AS rules
  FROM scheduling_appointment a
  JOIN scheduling_episode e ON e.id = a.episode_id
  JOIN clinic_patient p ON p.id = e.patient_id AND NOT p.deceased
  JOIN clinic_site s ON s.id = a.site_id
  JOIN rule r ON r.site_id = a.site_id AND lower(a.during) < r.reach AND r.visit IN ('', a.visit)
 CROSS JOIN LATERAL (
       SELECT CASE r.unit
              WHEN 'hours' THEN lower(a.during) - r.amount * interval '1 hour'
              WHEN 'days' THEN timezone(r.time_zone,
                                        timezone(r.time_zone, lower(a.during))::date - r.amount + r.hour)
              END AS near) moment
 WHERE lower(a.during) > %(at)s
   AND a.status IN ('booked', 'confirmed', 'cancelled')
   AND (%(sites)s::bigint[] IS NULL OR a.site_id = ANY(%(sites)s::bigint[]))
   AND (%(patient)s::uuid IS NULL OR e.patient_id = %(patient)s::uuid)
   AND CASE WHEN CASE r.kind
            WHEN %(booked)s THEN a.version = 1 AND a.status <> 'cancelled'
            WHEN %(moved)s THEN a.version > 1 AND a.status <> 'cancelled'
            WHEN %(cancelled)s THEN a.status = 'cancelled' AND (
                 SELECT true FROM clinic_message m
                  WHERE m.kind = ANY(%(kinds)s) AND m.about = a.id::text AND m.status = ANY(%(heard)s) LIMIT 1)
            WHEN %(unconfirmed)s THEN a.status = 'booked' AND moment.near > a.changed_at - r.slack
            ELSE a.status <> 'cancelled' AND moment.near > a.changed_at - r.slack
            END
       THEN (SELECT true FROM clinic_message m
              WHERE m.kind = r.kind AND m.about = a.id::text AND m.occasion = r.occasion AND m.version = a.version
              LIMIT 1) IS NULL
       END
   AND (r.since IS NULL OR r.since < CASE
        WHEN r.unit <> 'at_once' THEN moment.near + r.slack
        WHEN a.status = 'cancelled' THEN a.changed_at
        ELSE (SELECT max(c.at) FROM clinic_statuschange c  -- booked, moved: confirming it is no news
               WHERE c.subject = 'scheduling.Appointment' AND c.subject_id = a.id::text AND c.became = 'booked')
        END)
 GROUP BY a.id, e.id, s.id
 ORDER BY lower(a.during), a.id
"""


def queue_due(*, at: datetime) -> int:
    """Queue what patients should hear about their appointments and have not been told. Returns how many."""
    return messages.queue(ahead.due(_planned(at=at, until=at), at=at))


def forecast(
    *,
    at: datetime,
    until: datetime,
    sites: Collection[Site] | None = None,
    patient: Patient | None = None,
    overdue: bool = False,
) -> Iterator[Message]:
    """What `queue_due` will queue after `at` and not after `until`, if nothing else happens; with `overdue` also what
    it would queue at `at`."""
    planned = _planned(at=at, until=until, sites=sites, patient=patient)
    return ahead.coming(planned, at=at, until=until, overdue=overdue)


def _planned(
    *, at: datetime, until: datetime, sites: Collection[Site] | None = None, patient: Patient | None = None
) -> Iterator[Planned]:
    terms = {
        "kinds": list(KINDS),
        "booked": BOOKED,
        "moved": MOVED,
        "cancelled": CANCELLED,
        "unconfirmed": UNCONFIRMED,
        "heard": [status.value for status in HEARD],
        "at": at,
        "until": until,
        "sites": None if sites is None else [site.pk for site in sites],
        "patient": patient and patient.pk,
    }
    untold = list(Appointment.objects.raw(UNTOLD, terms))
    if not untold:
        return
    rules = MessageRule.objects.by_site(KINDS)
    for appointment in untold:
        yield from _about(appointment, rules.get(appointment.site_id, []), at=at)


def _about(appointment: Any, rules: list[MessageRule], *, at: datetime) -> Iterator[Planned]:
    """What is still to be said about `appointment`, and when."""
    zone, start = appointment.time_zone, appointment.during.lower
    quiet = Quiet(appointment.quiet_from, appointment.quiet_until, zone)
    the_day = clock.day_bounds(clock.local_date(start, zone), zone)[0]
    counted = [rule for rule in rules if not rule.at_once and rule.visit in ("", appointment.visit)]
    moments = {rule.pk: rule.out_of(quiet, rule.before(start, zone), latest=the_day) for rule in counted}
    reminders = sorted(moments[rule.pk] for rule in rules if rule.kind == REMINDER and rule.pk in moments)
    for rule in rules:
        if rule.pk not in appointment.rules:
            continue
        if rule.at_once:
            yield Planned(_message(appointment, rule, due_at=at, not_after=start), quiet, latest=start, caused=True)
            continue
        due_at, until = moments[rule.pk], start
        if rule.kind == REMINDER:  # after an outage: the latest one only
            until = next((moment for moment in reminders if moment > due_at), start)
        # Who booked or moved after that moment has just been told, and needs no reminder of it.
        if appointment.changed_at < due_at < start and (rule.since is None or rule.since < due_at):
            yield Planned(_message(appointment, rule, due_at=due_at, not_after=until), quiet, latest=the_day)


def _message(appointment: Any, rule: MessageRule, *, due_at: datetime, not_after: datetime) -> Message:
    return Message(
        site_id=appointment.site_id,
        patient_id=appointment.patient_id,
        kind=rule.kind,
        about=str(appointment.pk),
        occasion=rule.occasion,
        version=appointment.version,
        channel=rule.channel,
        due_at=due_at,
        not_after=not_after,
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
        if appointment.off:
            return OFF
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
            "confirmed": _appointment(message).status == A.CONFIRMED,
        }

    def answer(self, message: Message) -> str:
        """Where the patient says that they will come, or asks for another time; "" if the desk has revoked it."""
        appointment = _appointment(message)
        if appointment.status not in COMING:
            return ""
        link = links.link_until(appointment, purpose=Purpose.VISIT, site=message.site, until=appointment.during.lower)
        return "" if link.revoked_at else settings.BASE_URL + reverse("visit", args=[links.token_of(link)])


class ForTheCalendar(AboutAppointment):
    """With an attachment that writes the appointment into the patient's calendar, moves it there, or takes it out."""

    caused = True

    def render(self, message: Message, *, at: datetime) -> messages.Rendered:
        said = super().render(message, at=at)
        with languages.speaking(message.patient.language):
            attachment = invites.invite(_appointment(message), message.patient, at=at)
        return replace(said, attachments=[*said.attachments, attachment])


class Booked(ForTheCalendar):
    pass


class Moved(ForTheCalendar):
    pass


class Cancelled(ForTheCalendar):
    wanted_while = (A.CANCELLED,)


class Preparation(AboutAppointment):
    by_sms = False

    def words(self, message: Message, *, at: datetime) -> dict[str, Any]:
        rule = MessageRule.objects.get(site=message.site_id, kind=message.kind, occasion=message.occasion)
        return {**super().words(message, at=at), "prepare": rule.words(message.site.language)}


class Reminder(AboutAppointment):
    def words(self, message: Message, *, at: datetime) -> dict[str, Any]:
        """`please_confirm`: whether the patient has not yet said that they will come."""
        return {**super().words(message, at=at), "please_confirm": _appointment(message).status == A.BOOKED}


class Unconfirmed(Reminder):
    """Nobody knows whether the patient will come, and the day is near. By default a task for a person, who phones: a
    procedure is never given up by itself."""

    wanted_while = (A.BOOKED,)

    def still_wanted(self, message: Message, *, at: datetime) -> str:
        appointment = _appointment(message)
        if appointment.status == A.CONFIRMED and appointment.version == message.version:
            return "The patient has said that they will come."
        return super().still_wanted(message, at=at)


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


def _appointment(message: Message) -> Any:
    """Read once for each try, so that what was checked is what is said."""
    kept = vars(message)
    if "appointment" not in kept:
        off = MessageRule.objects.filter(
            site=OuterRef("site"), kind=message.kind, occasion=message.occasion, in_use=False
        )
        appointment = kept["appointment"] = Appointment.objects.annotate(off=Exists(off)).get(pk=message.about)
        appointment.site = message.site
    return kept["appointment"]
