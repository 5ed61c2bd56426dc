"""Beside step 3: time that became free goes to who has waited longest and can use it. Leaves behind a WaitlistEntry for
who waits, a FreedTime for what became free, and a WaitlistOffer for every turn: offered, or passed over and why.

One patient at a time is asked, and the time is held for them meanwhile; the booking they have stays until they accept.
Whoever locks does so in this order: freed time, entry, offer, then what `bookings` locks.
"""

from collections.abc import Collection
from datetime import date, datetime
from typing import Any

from django.conf import settings
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.models import Exists, OuterRef, Q, QuerySet

from clinic import messages, optouts
from clinic.clock import local_date, short_day, spoken
from clinic.models import Category, Channel, Message, MessageRule
from clinic.status import StepRefused, move, note
from clinic.text import clean
from scheduling import bookings, diary, freed, limits, slots
from scheduling.models import Appointment, Episode, FreedTime, WaitlistEntry, WaitlistOffer
from scheduling.models.waitlist import WAITED_FOR
from scheduling.states import (
    OFFER_MOVES,
    WAITLIST_MOVES,
    AppointmentStatus,
    EpisodeStatus,
    OfferStatus,
    WaitlistStatus,
)

SYSTEM = "system"
OFFER = "waitlist.offer"  # the kind of its message
ORDER = "Who has waited longest is asked first; one at a time for each time that becomes free."
COMING = (AppointmentStatus.BOOKED, AppointmentStatus.CONFIRMED)


class OfferOver(StepRefused):
    """It was answered, ran out, or was taken back."""

    code = "offer_over"


# On the list and off it


@diary.one_commit()
def add(
    episode: Episode,
    *,
    visit: str,
    earliest: date | None = None,
    latest: date | None = None,
    weekdays: Collection[int] = (),
    by: str,
    at: datetime,
) -> WaitlistEntry:
    """Put the patient at the end of the list for a time, or for a sooner one than they have."""
    episode = (
        Episode.objects.select_for_update(of=("self",), no_key=True).select_related("patient__site").get(pk=episode.pk)
    )
    limits.check_patient(episode.patient)
    if visit not in WAITED_FOR:
        raise StepRefused("An MRI is booked inside its follow-up window. Find a time for it on its follow-up event.")
    if episode.status != EpisodeStatus.PLANNED:
        raise StepRefused(f"This treatment is no longer planned ({episode.get_status_display()}). Nobody waits for it.")
    if episode.waitlist_entries.filter(visit=visit, status=WaitlistStatus.WAITING).exists():
        raise StepRefused("The patient is on the waitlist for this visit already.")
    _check_days(episode, visit, earliest, latest, weekdays, at=at)
    entry = WaitlistEntry.objects.create(
        episode=episode,
        visit=visit,
        earliest=earliest,
        latest=latest,
        weekdays=sorted(set(weekdays)),
        added_at=at,
        added_by=by,
    )
    note(entry, was="", became=entry.status, by=by, at=at)
    return entry


def _check_days(
    episode: Episode, visit: str, earliest: date | None, latest: date | None, weekdays: Collection[int], *, at: datetime
) -> None:
    today = local_date(at, episode.patient.site.zone)
    if earliest and latest and latest < earliest:
        raise StepRefused("The last day that would do is before the first. Correct one of them.")
    if latest and latest < today:
        raise StepRefused("The last day that would do has passed. Choose a later one, or leave it empty.")
    if earliest and earliest > today + limits.HORIZON:
        raise StepRefused("Nothing is booked more than a year ahead. Choose an earlier first day.")
    if any(day not in range(7) for day in weekdays):
        raise StepRefused("Choose weekdays from Monday to Sunday.")
    has = booked(episode, visit)
    if has and earliest and earliest >= local_date(has.during.lower, has.site.zone):
        on = short_day(local_date(has.during.lower, has.site.zone))
        raise StepRefused(
            f"The visit is booked on {on}, and only a sooner day is offered. Choose an earlier first day."
        )


@diary.one_commit()
def withdraw(entry: WaitlistEntry, *, reason: str, by: str, at: datetime) -> WaitlistEntry:
    """Take the patient off the list. What was offered to them just now is taken back; a booking stays as it is."""
    reason = clean(reason, lines=True)
    if not reason:
        raise StepRefused("Say why: the reason is kept with the change.")
    return _take_off(entry, WaitlistStatus.WITHDRAWN, OfferStatus.WITHDRAWN, reason=reason, by=by, at=at)


@diary.one_commit()
def leave(entry: WaitlistEntry, *, by: str, at: datetime) -> WaitlistEntry:
    """The patient wants no more offers. Asked twice it stays at that."""
    if WaitlistEntry.objects.get(pk=entry.pk).status == WaitlistStatus.LEFT:
        return entry
    reason = "The patient left the list."
    return _take_off(entry, WaitlistStatus.LEFT, OfferStatus.DECLINED, reason=reason, by=by, at=at)


def _take_off(
    entry: WaitlistEntry, to: WaitlistStatus, offer_to: OfferStatus, *, reason: str, by: str, at: datetime
) -> WaitlistEntry:
    offers = WaitlistOffer.objects.filter(entry=entry, status=OfferStatus.OPEN)
    for pk in offers.values_list("pk", flat=True):  # one at most
        offer = _locked(pk)
        if offer.status == OfferStatus.OPEN:
            _end(offer, offer_to if at < _until(offer) else OfferStatus.LAPSED, reason=reason, by=by, at=at)
    entry = move(entry, to, moves=WAITLIST_MOVES, by=by, at=at, reason=reason)
    if offers.exists():
        raise diary.Busy("A time was offered to this patient just now. Look at it, then try again.")
    return entry


def booked(episode: Episode, visit: str) -> Appointment | None:
    """The booking the patient has and would give up for a sooner one."""
    rows = Appointment.objects.filter(episode=episode, visit=visit, status__in=COMING, instead_of=None)
    return rows.select_related("site").order_by("during").first()


# The answer


@diary.one_commit()
def accept(offer: WaitlistOffer, *, by: str, at: datetime) -> WaitlistOffer:
    """The patient takes the time: their booking moves there, or the held time becomes their booking."""
    offer = _locked(offer.pk)
    _refuse_over(offer, at=at)
    if stale := _stale(offer):
        raise OfferOver(stale)
    why = "Offered off the waitlist, and accepted."
    bookings.take_up(_held(offer), option=slots.Option.unpacked(offer.option or ()), reason=why, by=by, at=at)
    return _accepted(offer, reason="", by=by, at=at)


@diary.one_commit()
def decline(offer: WaitlistOffer, *, by: str, at: datetime) -> WaitlistOffer:
    """The patient does not want this time; they stay on the list, and the next one is asked."""
    offer = _locked(offer.pk)
    _refuse_over(offer, at=at)
    return _end(offer, OfferStatus.DECLINED, reason="", by=by, at=at)


def standing(offer: WaitlistOffer, *, at: datetime) -> OfferStatus:
    """What the offer is at this moment: it lapses by the clock, whether or not a sweep has been by."""
    if offer.status == OfferStatus.OPEN and at >= _until(offer):
        return OfferStatus.LAPSED
    return OfferStatus(offer.status)


def to_phone(*, at: datetime) -> QuerySet[WaitlistOffer]:
    """Open offers to patients whom no e-mail reaches: somebody calls them."""
    unreached = optouts.no_email("entry__episode__patient", Category.WAITLIST)
    rows = WaitlistOffer.objects.filter(unreached, status=OfferStatus.OPEN, until__gt=at)
    return rows.select_related("entry__episode__patient__site", "held").order_by("until", "pk")


def _refuse_over(offer: WaitlistOffer, *, at: datetime) -> None:
    now = standing(offer, at=at)
    if now == OfferStatus.LAPSED:
        until = spoken(_until(offer), offer.freed.site.zone)
        raise OfferOver(f"The time was kept until {until}. The patient stays on the waitlist for the next one.")
    if now != OfferStatus.OPEN:
        raise OfferOver(f"This offer is over: {OfferStatus(now).label.lower()}.")


def _stale(offer: WaitlistOffer) -> str:
    """Why the offer cannot be taken although it has not run out; "" if it can."""
    held = _held(offer)
    if held.status != AppointmentStatus.HELD:
        return "The time that was kept has been given up at the desk. Search for another."
    if held.during != offer.during:
        return "The time that was kept has been moved at the desk. Search for another."
    has = held.instead_of
    if has is not None and has.status not in COMING:
        return "The booking that was to move is no longer there. Search for a time instead."
    if has is not None and has.during.lower <= held.during.lower:
        return "The booking has moved to a sooner time meanwhile."
    return ""


def _locked(pk: Any) -> WaitlistOffer:
    """The offer as it is now, locked after its freed time and its entry and with both visits, so that neither a sweep
    nor the desk changes any of them meanwhile."""
    offer = WaitlistOffer.objects.get(pk=pk)
    list(FreedTime.objects.filter(pk=offer.freed_id).select_for_update(of=("self",), no_key=True))
    list(WaitlistEntry.objects.filter(pk=offer.entry_id).select_for_update(of=("self",), no_key=True))
    both = WaitlistOffer.objects.filter(pk=pk)
    pair = Appointment.objects.filter(Q(pk__in=both.values("held")) | Q(pk__in=both.values("held__instead_of")))
    rows = WaitlistOffer.objects.select_related("entry__episode__patient", "freed__site")
    offer = rows.select_for_update(of=("self",), no_key=True).get(pk=pk)
    list(pair.order_by("pk").select_for_update(of=("self",), no_key=True))
    return offer


def _held(offer: WaitlistOffer) -> Appointment:
    related = ("held__site", "held__instead_of", "held__episode")
    held = WaitlistOffer.objects.select_related(*related).get(pk=offer.pk).held
    assert held is not None  # noqa: S101 - an_offer_says_what_and_until_when
    return held


def _until(offer: WaitlistOffer) -> datetime:
    assert offer.until is not None  # noqa: S101 - an_offer_says_what_and_until_when
    return offer.until


def _accepted(offer: WaitlistOffer, *, reason: str, by: str, at: datetime) -> WaitlistOffer:
    move(offer.entry, WaitlistStatus.PLACED, moves=WAITLIST_MOVES, by=by, at=at)
    return move(
        offer, OfferStatus.ACCEPTED, moves=OFFER_MOVES, by=by, at=at, reason=reason, also=_ending(reason, at=at)
    )


def _end(offer: WaitlistOffer, to: OfferStatus, *, reason: str, by: str, at: datetime) -> WaitlistOffer:
    """Close an offer that was not taken, and free its time at once for the next in the list."""
    held = _held(offer)
    if held.status == AppointmentStatus.HELD:
        bookings.let_go(held, reason=reason or f"Offered off the waitlist: {to.label.lower()}.", by=by, at=at)
    return move(offer, to, moves=OFFER_MOVES, by=by, at=at, reason=reason, also=_ending(reason, at=at))


def _ending(reason: str, *, at: datetime) -> dict[str, Any]:
    return {"ended_at": at, "reason": reason}


# The sweep


def sweep(*, at: datetime) -> int:
    """Close what is over, notice what became free, and offer it to the next in the list. Returns how many offers were
    made. Two sweeps at once share the work."""
    work = freed.work(at=at)
    if not work:
        return 0
    for pk in work["ended"]:
        _tidily(_settle, pk, at=at)
    for pk in work["over"]:
        _tidily(_close, pk, at=at)
    freed.notice([int(pk) for pk in work["freed"]], at=at)
    return sum(_offer_on(int(pk), at=at) for pk in freed.work(at=at)["due"])


def _tidily(step: Any, pk: str, *, at: datetime) -> None:
    """One thing in one commit; what somebody else is at just now waits for the next sweep."""
    try:
        with diary.one_commit():
            step(pk, at=at)
    except StepRefused:
        return


def _settle(pk: str, *, at: datetime) -> None:
    """Write down how an offer ended that ended by itself or at the desk."""
    offer = _locked(pk)
    if offer.status != OfferStatus.OPEN:
        return
    held = _held(offer)
    if held.status not in (AppointmentStatus.HELD, AppointmentStatus.CANCELLED):
        _accepted(offer, reason="Booked at the desk.", by=SYSTEM, at=at)
    elif at >= _until(offer):
        _end(offer, OfferStatus.LAPSED, reason="", by=SYSTEM, at=at)
    elif stale := _stale(offer):
        _end(offer, OfferStatus.WITHDRAWN, reason=stale, by=SYSTEM, at=at)


def _close(pk: str, *, at: datetime) -> None:
    """Take somebody off the list who can no longer be offered anything."""
    entry = WaitlistEntry.objects.select_related("episode__patient").get(pk=pk)
    if entry.status != WaitlistStatus.WAITING:
        return
    dead = entry.episode.patient.deceased
    reason = "The patient has died." if dead else f"The treatment is {entry.episode.get_status_display().lower()}."
    _take_off(entry, WaitlistStatus.WITHDRAWN, OfferStatus.WITHDRAWN, reason=reason, by=SYSTEM, at=at)


# One freed time: down the list until somebody is asked


def _offer_on(pk: int, *, at: datetime) -> int:
    """Each turn is a commit of its own; 1 if it ended with an offer, 0 if with the list or with somebody in between."""
    while True:
        try:
            with diary.one_commit():
                turn = _next_turn(pk, at=at)
        except (diary.Busy, diary.TimeTaken):  # somebody books there this moment: the next sweep sees what is left
            return 0
        if turn is None or turn.status == OfferStatus.OPEN:
            return int(turn is not None)


def _next_turn(pk: int, *, at: datetime) -> WaitlistOffer | None:
    time = (
        FreedTime.objects.select_for_update(skip_locked=True, of=("self",), no_key=True)
        .select_related("site", "reservation")
        .filter(pk=pk)
        .first()
    )
    if time is None or freed.is_gone(time):
        return None
    entry = _next_entry(time)
    if entry is None:
        return None
    if entry.status != WaitlistStatus.WAITING or entry.offers.filter(status=OfferStatus.OPEN).exists():
        raise diary.Busy("Somebody else is serving this patient.")  # while we waited for the lock
    has = booked(entry.episode, entry.visit)
    option, why = freed.fitting(time, entry, has, at=at)
    if option is not None:
        try:
            return _make(time, entry, option, has, at=at)
        except (diary.Busy, diary.TimeTaken):
            raise
        except StepRefused as refused:
            why = str(refused)
    passed = WaitlistOffer.objects.create(
        freed=time, entry=entry, status=OfferStatus.PASSED, made_at=at, ended_at=at, reason=why
    )
    note(passed, was="", became=passed.status, by=SYSTEM, at=at, reason=why)
    return passed


def _next_entry(time: FreedTime) -> WaitlistEntry | None:
    """Who has waited longest of those who had no turn at this time and no other offer to think about."""
    turns = WaitlistOffer.objects.filter(entry=OuterRef("pk"))
    entries = WaitlistEntry.objects.waiting().filter(
        ~Exists(turns.filter(Q(freed=time) | Q(status=OfferStatus.OPEN))),
        episode__patient__site=time.site,
        episode__patient__deceased=False,
        episode__status=EpisodeStatus.PLANNED,
    )
    related = ("episode__patient__site", "episode__protocol__product", "episode__verdict")
    return entries.select_related(*related).select_for_update(of=("self",), no_key=True).first()


def _make(
    time: FreedTime, entry: WaitlistEntry, option: slots.Option, has: Appointment | None, *, at: datetime
) -> WaitlistOffer:
    """Hold the time and offer it; the message about it is written in the same commit."""
    until = min(at + settings.WAITLIST_ANSWER_WITHIN, option.start)
    held = bookings.hold(entry.episode, visit=entry.visit, option=option, until=until, instead_of=has, by=SYSTEM, at=at)
    offer = WaitlistOffer.objects.create(
        freed=time,
        entry=entry,
        made_at=at,
        during=DateTimeTZRange(option.start, option.end),
        option=option.packed(),
        held=held,
        until=until,
    )
    note(offer, was="", became=offer.status, by=SYSTEM, at=at)
    if not optouts.reason_not_to(offer.entry.episode.patient, Channel.EMAIL, Category.WAITLIST):
        told = Message(
            site=time.site,
            patient=entry.episode.patient,
            kind=OFFER,
            about=str(offer.pk),
            occasion="offer",
            channel=MessageRule.objects.get(site=time.site, kind=OFFER).channel,
            due_at=at,
            not_after=until,
        )
        messages.queue([told])
    return offer
