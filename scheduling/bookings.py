"""Step 3: a treatment planned, its visits held, booked, moved, given up. Leaves behind an Episode, its Appointments and
the reservations under them; booking the procedure sets the anchor from which every later date is derived."""

from contextlib import suppress
from datetime import datetime

from django.conf import settings
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange

from clinic.clock import local_date, spoken
from clinic.status import StepRefused, note
from clinic.status import move as move_status
from scheduling import cells, chains, diary, limits, slots, visits
from scheduling.models import Appointment, Episode, Harvest, Resource, Verdict
from scheduling.models.protocol import Visit
from scheduling.search import Search, Shortage, find
from scheduling.states import APPOINTMENT_AHEAD, APPOINTMENT_MOVES, EPISODE_MOVES, AppointmentStatus, EpisodeStatus
from scheduling.visits import Seen

__all__ = [
    "Search",
    "Shortage",
    "arrive",
    "book",
    "book_at",
    "cancel",
    "cancel_episode",
    "confirm",
    "find",
    "fulfil",
    "hold",
    "lapse_holds",
    "let_go",
    "move",
    "no_show",
    "open_episode",
    "swap",
    "take_up",
]

UNFINISHED = APPOINTMENT_AHEAD | {AppointmentStatus.ARRIVED}
CHANGEABLE = APPOINTMENT_AHEAD - {AppointmentStatus.HELD}


# The treatment


@diary.one_commit()
def open_episode(verdict: Verdict, *, by: str, at: datetime) -> Episode:
    """A planned treatment under a signed verdict; its visits are booked next."""
    verdict = Verdict.objects.select_for_update(of=("self",), no_key=True).get(pk=verdict.pk)
    evaluation, protocol = verdict.evaluation, verdict.protocol
    patient = evaluation.referral.patient
    limits.check_patient(patient)
    limits.check_verdict(verdict)
    ends = verdict.expires_on(patient.site.zone)
    if ends is None or local_date(at, patient.site.zone) > ends:
        raise StepRefused("The verdict is too old to book on. Evaluate the patient again.")
    if Episode.objects.filter(verdict=verdict).exists():
        raise StepRefused("A treatment was planned under this verdict already.")
    if not protocol.active:
        raise StepRefused(f"{protocol} is no longer used. Judge the evaluation under the present protocol.")
    if not 1 <= len(evaluation.target_levels) <= protocol.max_levels:
        raise StepRefused(
            f"{protocol} treats 1 to {protocol.max_levels} disc levels; the evaluation names "
            f"{len(evaluation.target_levels)}. Correct the evaluation or choose another protocol."
        )
    episode = Episode.objects.create(
        patient=patient, verdict=verdict, protocol=protocol, target_levels=evaluation.target_levels, opened_at=at
    )
    note(episode, was="", became=episode.status, by=by, at=at)
    return episode


@diary.one_commit()
def cancel_episode(episode: Episode, *, reason: str, by: str, at: datetime) -> Episode:
    """Give up the treatment before it happened, with every visit still ahead."""
    reason = visits.said(reason)
    live = Appointment.objects.filter(episode=episode, status__in=UNFINISHED).order_by("pk")
    days = list(live.select_for_update(of=("self",), no_key=True))
    if any(visit.status == AppointmentStatus.ARRIVED for visit in days):
        raise StepRefused("The patient is in the clinic. Finish or cancel that visit first.")
    diary.lock_with(episode.patient, set[int]().union(*(diary.resources_of(visit) for visit in days)))
    for visit in sorted(days, key=lambda visit: visit.visit != Visit.PROCEDURE):  # a harvest waits for its procedure
        visits.give_up(visit, AppointmentStatus.CANCELLED, reason=reason, by=by, at=at)
    if live.exists():
        raise diary.Busy("Somebody booked a visit of this treatment just now. Look at it, then cancel again.")
    return move_status(episode, EpisodeStatus.CANCELLED, moves=EPISODE_MOVES, by=by, at=at, reason=reason)


# A visit


@diary.one_commit()
def hold(
    episode: Episode,
    *,
    visit: str,
    option: slots.Option,
    until: datetime | None = None,
    instead_of: Appointment | None = None,
    by: str,
    at: datetime,
) -> Appointment:
    """Keep a time for a patient who is deciding. It blocks like a booking, until it lapses by the clock.

    `instead_of` is the booking the patient has and keeps until they take the held time (`take_up`)."""
    if instead_of is not None:
        instead_of = visits.locked(instead_of)
        if instead_of.status not in CHANGEABLE:
            raise StepRefused(f"The booked visit is {instead_of.get_status_display()}; no other time is kept for it.")
    return visits.place(
        episode,
        AppointmentStatus.HELD,
        visit=visit,
        option=option,
        held_until=until or at + settings.HOLD_FOR,
        instead_of=instead_of,
        by=by,
        at=at,
    )


@diary.one_commit()
def book_at(episode: Episode, *, visit: str, option: slots.Option, by: str, at: datetime) -> Appointment:
    """Hold and book at once."""
    return visits.place(episode, AppointmentStatus.BOOKED, visit=visit, option=option, by=by, at=at)


@diary.one_commit()
def book(appointment: Appointment, *, by: str, at: datetime) -> Appointment:
    """Make a live hold a booking."""
    appointment = visits.locked(appointment)
    visits.refuse_lapsed(appointment, at)
    visits.refuse_second(appointment)
    episode = visits.fresh(appointment.episode)
    day = local_date(appointment.during.lower, appointment.site.zone)
    limits.check_bookable(episode, visit=appointment.visit, at=at, moving=True)
    limits.check_day(episode, day, visit=appointment.visit, at=at, moving=True)
    cells.allocate(appointment, by=by, at=at)  # what a recall has taken from it meanwhile
    appointment = visits.become(appointment, AppointmentStatus.BOOKED, by=by, at=at)
    visits.touch_steps(appointment, at=at)
    visits.set_anchor(appointment, appointment.steps.all())
    return appointment


@diary.one_commit()
def confirm(appointment: Appointment, *, by: str, at: datetime) -> Appointment:
    """The patient says: I will come."""
    return visits.become(appointment, AppointmentStatus.CONFIRMED, by=by, at=at)


@diary.one_commit()
def arrive(appointment: Appointment, *, by: str, at: datetime) -> Appointment:
    """The patient is at the desk."""
    zone = appointment.site.zone
    appointment = visits.locked(appointment)
    if local_date(at, zone) < local_date(appointment.during.lower, zone):
        raise StepRefused(
            f"The visit is on {spoken(appointment.during.lower, zone)}. Move it if the patient is here now."
        )
    if appointment.episode.patient.deceased:
        raise StepRefused("The patient is recorded as deceased. Correct the record first.")
    return visits.become(appointment, AppointmentStatus.ARRIVED, by=by, at=at)


@diary.one_commit()
def fulfil(appointment: Appointment, *, by: str, at: datetime) -> Appointment:
    """The visit is done. A procedure day is fulfilled by recording its injection, and in no other way."""
    if appointment.visit == Visit.PROCEDURE:
        raise StepRefused("Record the injection: that completes the procedure day.")
    if appointment.visit == Visit.HARVEST and not Harvest.objects.filter(appointment=appointment).exists():
        raise StepRefused("Record what was harvested first.")
    return visits.become(appointment, AppointmentStatus.FULFILLED, by=by, at=at)


@diary.one_commit()
def move(
    appointment: Appointment, *, option: slots.Option, reason: str, seen: Seen = None, by: str, at: datetime
) -> Appointment:
    """Put the visit at another time, or with other rooms and people. Its steps keep their ids, and so their place in
    everybody's calendar. If it cannot be done nothing has changed."""
    reason = visits.said(reason)
    appointment = visits.locked(appointment, seen=seen)
    if appointment.status not in APPOINTMENT_AHEAD:
        raise StepRefused(f"{appointment} is {appointment.get_status_display()}; it can no longer be moved.")
    if appointment.status == AppointmentStatus.HELD:
        visits.refuse_lapsed(appointment, at)
        visits.refuse_second(appointment)
    steps = list(appointment.steps.order_by("order"))

    episode, visit = appointment.episode, appointment.visit
    rows = chains.protocol_steps(episode.protocol, visit=visit)
    taken = visits.claim(option, episode, visit=visit, protocol_steps=rows, moving=appointment, by=by, at=at)
    visits.check(visits.fresh(episode), visit, option, taken, at=at, moving=True)
    was, new_time = appointment.during.lower, visits.retime(steps, option, at=at)
    appointment.during = DateTimeTZRange(option.start, option.end)
    appointment.version += new_time  # the patient is told of a new time, not of another nurse
    appointment.changed_at = at
    appointment.save(update_fields=["during", "version", "changed_at"])
    diary.reserve(appointment, steps, taken)
    cells.release(appointment, by=by, at=at)
    cells.allocate(appointment, by=by, at=at)
    visits.set_anchor(appointment, steps)
    zone = appointment.site.zone
    told = f"From {spoken(was, zone)} to {spoken(option.start, zone)}" if new_time else "Same time, other resources"
    told = f"{told}. {reason}"
    if new_time and appointment.status == AppointmentStatus.CONFIRMED:  # it was the old time that was confirmed
        return move_status(appointment, AppointmentStatus.BOOKED, moves=APPOINTMENT_MOVES, by=by, at=at, reason=told)
    note(appointment, was=appointment.status, became=appointment.status, by=by, at=at, reason=told)
    return appointment


@diary.one_commit()
def swap(
    appointment: Appointment,
    *,
    out: Resource,
    into: Resource,
    reason: str,
    seen: Seen = None,
    by: str,
    at: datetime,
) -> Appointment:
    """Put `into` in the place of `out` in every step that has not begun. Time and steps stay as they are, so the
    patient hears nothing of it; the calendars of both do."""
    reason = visits.said(reason)
    appointment = visits.locked(appointment, seen=seen)
    if appointment.status not in UNFINISHED:
        raise StepRefused(f"{appointment} is {appointment.get_status_display()}; nobody is swapped any more.")
    visits.refuse_lapsed(appointment, at)
    visits.refuse_second(appointment)
    resources = diary.lock({out.pk, into.pk})
    out, into = resources[out.pk], resources[into.pk]

    steps = [step for step in appointment.steps.order_by("order") if step.during.lower > at]
    taken = diary.seats_of(out, steps, filled_by=into)
    chains.check_substitute(out, into, [steps[seat.place] for seat in taken])
    visits.make_way(taken, {into.pk}, by=by, at=at)
    diary.check_open(appointment.site, taken)
    diary.give_up_seats(out, steps)
    diary.reserve(appointment, steps, taken)
    visits.touch_steps(appointment, at=at, only=[steps[seat.place] for seat in taken])
    appointment.save(update_fields=["revision"])
    told = f"Same time, {into} instead of {out}. {reason}"
    note(appointment, was=appointment.status, became=appointment.status, by=by, at=at, reason=told)
    return appointment


@diary.one_commit()
def cancel(appointment: Appointment, *, reason: str, seen: Seen = None, by: str, at: datetime) -> Appointment:
    """Give the visit up: its rooms, people and cells are free at once."""
    reason = visits.said(reason)
    appointment = visits.locked(appointment, seen=seen)
    diary.lock(diary.resources_of(appointment))
    return visits.give_up(appointment, AppointmentStatus.CANCELLED, reason=reason, by=by, at=at)


@diary.one_commit()
def take_up(held: Appointment, *, option: slots.Option, reason: str, by: str, at: datetime) -> Appointment:
    """Give the patient the time that was kept for them: the booking they have moves there; with none, the hold is
    booked. `option` is what the hold was made of. Either all of it happens, or everything stays as it was."""
    if held.instead_of is None:
        return book(held, by=by, at=at)
    both = [held.pk, held.instead_of.pk]
    list(Appointment.objects.filter(pk__in=both).order_by("pk").select_for_update(of=("self",), no_key=True))
    booked, held = visits.locked(held.instead_of), visits.locked(held)
    if held.status != AppointmentStatus.HELD:
        raise StepRefused("The time is not kept any more. Search again: it may still be free.")
    visits.refuse_lapsed(held, at)
    diary.lock(diary.resources_of(held) | diary.resources_of(booked))
    visits.lapse(held, by=by, at=at, reason="The patient took this time: the booked visit moved here.")
    return move(booked, option=option, reason=reason, by=by, at=at)


@diary.one_commit()
def let_go(held: Appointment, *, reason: str, by: str, at: datetime) -> Appointment:
    """Free a time that is only held, before its hold lapses. A booking beside it stays as it is."""
    held = visits.locked(held)
    if held.status != AppointmentStatus.HELD:
        raise StepRefused("The time is not held any more.")
    diary.lock(diary.resources_of(held))
    return visits.lapse(held, by=by, at=at, reason=reason)


@diary.one_commit()
def no_show(appointment: Appointment, *, reason: str, by: str, at: datetime) -> Appointment:
    """The patient did not come."""
    reason = visits.said(reason)
    appointment = visits.locked(appointment)
    if at < appointment.during.lower:
        starts = spoken(appointment.during.lower, appointment.site.zone)
        raise StepRefused(f"The visit begins on {starts}. Until then it can be moved or cancelled.")
    diary.lock(diary.resources_of(appointment))
    return visits.give_up(appointment, AppointmentStatus.NOSHOW, reason=reason, by=by, at=at)


def lapse_holds(*, at: datetime) -> int:
    """Tidy up the holds that have run out. Nothing waits for this: a hold blocks nothing from its last second on."""
    count = 0
    for pk in diary.lapsed(at=at).values_list("pk", flat=True):
        with suppress(diary.Busy), diary.one_commit():  # the next sweep comes soon
            held = diary.lapsed(at=at).filter(pk=pk).select_for_update(skip_locked=True, of=("self",)).first()
            if held is not None:  # else somebody is at it this moment
                diary.lock(diary.resources_of(held))
                visits.lapse(held, by="system", at=at)
                count += 1
    return count
