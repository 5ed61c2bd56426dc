"""Step 3: a treatment planned, its visits held, booked, moved, given up. Leaves behind an Episode, its Appointments and
the reservations under them; booking the procedure sets the anchor from which every later date is derived."""

from contextlib import suppress
from datetime import datetime

from django.conf import settings
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.models import F

from clinic.clock import local_date, spoken
from clinic.status import StepRefused, note
from clinic.status import move as move_status
from clinic.text import clean
from scheduling import cells, chains, diary, limits, slots
from scheduling.chains import Taking
from scheduling.models import Appointment, AppointmentStep, Episode, Harvest, Verdict
from scheduling.models.protocol import StepCode, Visit
from scheduling.search import Search, Shortage, find
from scheduling.states import (
    APPOINTMENT_AHEAD,
    APPOINTMENT_MOVES,
    EPISODE_MOVES,
    AppointmentStatus,
    EpisodeStatus,
    HarvestStatus,
)

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
    reason = _said(reason)
    live = Appointment.objects.filter(episode=episode, status__in=UNFINISHED).order_by("pk")
    visits = list(live.select_for_update(of=("self",), no_key=True))
    if any(visit.status == AppointmentStatus.ARRIVED for visit in visits):
        raise StepRefused("The patient is in the clinic. Finish or cancel that visit first.")
    own = diary.patient_resource(episode.patient)
    diary.lock({own.pk}.union(*(diary.resources_of(visit) for visit in visits)))
    for visit in sorted(visits, key=lambda visit: visit.visit != Visit.PROCEDURE):  # a harvest waits for its procedure
        _give_up(visit, AppointmentStatus.CANCELLED, reason=reason, by=by, at=at)
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
    by: str,
    at: datetime,
    until: datetime | None = None,
    instead_of: Appointment | None = None,
) -> Appointment:
    """Keep a time for a patient who is deciding. It blocks like a booking, until it lapses by the clock.

    `instead_of` is the booking the patient has and keeps until they take the held time (`take_up`)."""
    if instead_of is not None:
        instead_of = _locked(instead_of)
        if instead_of.status not in CHANGEABLE:
            raise StepRefused(f"The booked visit is {instead_of.get_status_display()}; no other time is kept for it.")
    ends = until or at + settings.HOLD_FOR
    return _place(
        episode,
        AppointmentStatus.HELD,
        visit=visit,
        option=option,
        by=by,
        at=at,
        held_until=ends,
        instead_of=instead_of,
    )


@diary.one_commit()
def book_at(episode: Episode, *, visit: str, option: slots.Option, by: str, at: datetime) -> Appointment:
    """Hold and book at once."""
    return _place(episode, AppointmentStatus.BOOKED, visit=visit, option=option, by=by, at=at)


@diary.one_commit()
def book(appointment: Appointment, *, by: str, at: datetime) -> Appointment:
    """Make a live hold a booking."""
    appointment = _locked(appointment)
    _refuse_lapsed(appointment, at)
    _refuse_second(appointment)
    episode = _fresh(appointment.episode)
    day = local_date(appointment.during.lower, appointment.site.zone)
    limits.check_bookable(episode, visit=appointment.visit, at=at, moving=True)
    limits.check_day(episode, day, visit=appointment.visit, at=at, moving=True)
    appointment = _become(appointment, AppointmentStatus.BOOKED, by=by, at=at)
    _touch_steps(appointment, at=at)
    _set_anchor(appointment)
    return appointment


@diary.one_commit()
def confirm(appointment: Appointment, *, by: str, at: datetime) -> Appointment:
    """The patient says: I will come."""
    return _become(appointment, AppointmentStatus.CONFIRMED, by=by, at=at)


@diary.one_commit()
def arrive(appointment: Appointment, *, by: str, at: datetime) -> Appointment:
    """The patient is at the desk."""
    zone = appointment.site.zone
    appointment = _locked(appointment)
    if local_date(at, zone) < local_date(appointment.during.lower, zone):
        raise StepRefused(
            f"The visit is on {spoken(appointment.during.lower, zone)}. Move it if the patient is here now."
        )
    if appointment.episode.patient.deceased:
        raise StepRefused("The patient is recorded as deceased. Correct the record first.")
    return _become(appointment, AppointmentStatus.ARRIVED, by=by, at=at)


@diary.one_commit()
def fulfil(appointment: Appointment, *, by: str, at: datetime) -> Appointment:
    """The visit is done. A procedure day is fulfilled by recording its injection, and in no other way."""
    if appointment.visit == Visit.PROCEDURE:
        raise StepRefused("Record the injection: that completes the procedure day.")
    if appointment.visit == Visit.HARVEST and not Harvest.objects.filter(appointment=appointment).exists():
        raise StepRefused("Record what was harvested first.")
    return _become(appointment, AppointmentStatus.FULFILLED, by=by, at=at)


@diary.one_commit()
def move(appointment: Appointment, *, option: slots.Option, reason: str, by: str, at: datetime) -> Appointment:
    """Put the visit at another time, or with other rooms and people. Its steps keep their ids, and so their place in
    everybody's calendar. If it cannot be done nothing has changed."""
    reason = _said(reason)
    appointment = _locked(appointment)
    if appointment.status not in APPOINTMENT_AHEAD:
        raise StepRefused(f"{appointment} is {appointment.get_status_display()}; it can no longer be moved.")
    if appointment.status == AppointmentStatus.HELD:
        _refuse_lapsed(appointment, at)
        _refuse_second(appointment)
    steps = list(appointment.steps.order_by("order"))

    taken = _claim(option, appointment.episode, visit=appointment.visit, moving=appointment, by=by, at=at)
    _check(_fresh(appointment.episode), appointment.visit, option, taken, at=at, moving=True)
    was, new_time = appointment.during.lower, _retime(steps, option, at=at)
    appointment.during = DateTimeTZRange(option.start, option.end)
    appointment.version += new_time  # the patient is told of a new time, not of another nurse
    appointment.changed_at = at
    appointment.save(update_fields=["during", "version", "changed_at"])
    diary.reserve(appointment, steps, taken)
    cells.release(appointment, by=by, at=at)
    cells.allocate(appointment, by=by, at=at)
    _set_anchor(appointment)
    zone = appointment.site.zone
    told = f"From {spoken(was, zone)} to {spoken(option.start, zone)}" if new_time else "Same time, other resources"
    told = f"{told}. {reason}"
    if new_time and appointment.status == AppointmentStatus.CONFIRMED:  # it was the old time that was confirmed
        return move_status(appointment, AppointmentStatus.BOOKED, moves=APPOINTMENT_MOVES, by=by, at=at, reason=told)
    note(appointment, was=appointment.status, became=appointment.status, by=by, at=at, reason=told)
    return appointment


@diary.one_commit()
def cancel(appointment: Appointment, *, reason: str, by: str, at: datetime) -> Appointment:
    """Give the visit up: its rooms, people and cells are free at once."""
    reason = _said(reason)
    appointment = _locked(appointment)
    diary.lock(diary.resources_of(appointment))
    return _give_up(appointment, AppointmentStatus.CANCELLED, reason=reason, by=by, at=at)


@diary.one_commit()
def take_up(held: Appointment, *, option: slots.Option, reason: str, by: str, at: datetime) -> Appointment:
    """Give the patient the time that was kept for them: the booking they have moves there; with none, the hold is
    booked. `option` is what the hold was made of. Either all of it happens, or everything stays as it was."""
    if held.instead_of_id is None:
        return book(held, by=by, at=at)
    both = [held.pk, held.instead_of_id]
    list(Appointment.objects.filter(pk__in=both).order_by("pk").select_for_update(of=("self",), no_key=True))
    held, booked = _locked(held), _locked(Appointment.objects.get(pk=held.instead_of_id))
    if held.status != AppointmentStatus.HELD:
        raise StepRefused("The time is not kept any more. Search again: it may still be free.")
    _refuse_lapsed(held, at)
    diary.lock(diary.resources_of(held) | diary.resources_of(booked))
    _lapse(held, by=by, at=at, reason="The patient took this time: the booked visit moved here.")
    return move(booked, option=option, reason=reason, by=by, at=at)


@diary.one_commit()
def let_go(held: Appointment, *, reason: str, by: str, at: datetime) -> Appointment:
    """Free a time that is only held, before its hold lapses. A booking beside it stays as it is."""
    held = _locked(held)
    if held.status != AppointmentStatus.HELD:
        raise StepRefused("The time is not held any more.")
    diary.lock(diary.resources_of(held))
    return _lapse(held, by=by, at=at, reason=reason)


@diary.one_commit()
def no_show(appointment: Appointment, *, reason: str, by: str, at: datetime) -> Appointment:
    """The patient did not come."""
    reason = _said(reason)
    appointment = _locked(appointment)
    if at < appointment.during.lower:
        starts = spoken(appointment.during.lower, appointment.site.zone)
        raise StepRefused(f"The visit begins on {starts}. Until then it can be moved or cancelled.")
    diary.lock(diary.resources_of(appointment))
    return _give_up(appointment, AppointmentStatus.NOSHOW, reason=reason, by=by, at=at)


def lapse_holds(*, at: datetime) -> int:
    """Tidy up the holds that have run out. Nothing waits for this: a hold blocks nothing from its last second on."""
    count = 0
    for pk in diary.lapsed(at=at).values_list("pk", flat=True):
        with suppress(diary.Busy), diary.one_commit():  # the next sweep comes soon
            held = diary.lapsed(at=at).filter(pk=pk).select_for_update(skip_locked=True, of=("self",)).first()
            if held is not None:  # else somebody is at it this moment
                diary.lock(diary.resources_of(held))
                _lapse(held, by="system", at=at)
                count += 1
    return count


# What the verbs above share


def _place(
    episode: Episode,
    status: AppointmentStatus,
    *,
    visit: str,
    option: slots.Option,
    by: str,
    at: datetime,
    held_until: datetime | None = None,
    instead_of: Appointment | None = None,
) -> Appointment:
    """Write a new visit with its steps, reservations and cells. Call inside a transaction."""
    taken = _claim(option, episode, visit=visit, by=by, at=at)
    episode = _fresh(episode)
    _check(episode, visit, option, taken, at=at, moving=instead_of is not None)
    appointment = Appointment.objects.create(
        site=episode.patient.site,
        episode=episode,
        visit=visit,
        status=status,
        during=DateTimeTZRange(option.start, option.end),
        held_until=held_until,
        instead_of=instead_of,
        changed_at=at,
    )
    note(appointment, was="", became=status, by=by, at=at)
    protocol_steps = chains.protocol_steps(episode.protocol, visit=visit)
    steps = AppointmentStep.objects.bulk_create(
        AppointmentStep(
            appointment=appointment,
            protocol_step=protocol_step,
            order=order,
            code=placed.code,
            during=DateTimeTZRange(placed.start, placed.end),
            changed_at=at,
        )
        for order, (protocol_step, placed) in enumerate(zip(protocol_steps, option.steps, strict=True), start=1)
    )
    diary.reserve(appointment, steps, taken)
    if instead_of is None:  # else the booking has its cells, and they move with it
        cells.allocate(appointment, by=by, at=at)
    _set_anchor(appointment)
    return appointment


def _claim(
    option: slots.Option, episode: Episode, *, visit: str, moving: Appointment | None = None, by: str, at: datetime
) -> list[Taking]:
    """Lock all that the option takes, once it is seen to be what the protocol asks for, and free. Holds that have run
    out give way, and so does the old time of a visit that moves."""
    chain = chains.chain(episode.protocol, visit=visit, levels=len(episode.target_levels))
    own = diary.patient_resource(episode.patient)
    given_back = diary.resources_of(moving) if moving else set()
    resources = diary.lock(chains.resource_ids(option) | given_back | {own.pk})
    for held in diary.lapsed_on(resources.keys(), at=at):
        _lapse(held, by=by, at=at)
    if moving:
        diary.release(moving)
    taken = chains.takings(option, chain, resources=resources, patient=resources[own.pk])
    diary.check_free(taken)
    return taken


def _fresh(episode: Episode) -> Episode:
    """The episode as it is now. Its verdict is locked, so that nobody withdraws it before we are done."""
    list(Verdict.objects.filter(episode=episode).select_for_update(of=("self",), no_key=True))
    related = ("patient__site", "protocol__product", "verdict__criteria")
    return Episode.objects.select_related(*related).get(pk=episode.pk)


def _check(
    episode: Episode, visit: str, option: slots.Option, taken: list[Taking], *, at: datetime, moving: bool = False
) -> None:
    """Everything else that must be so at the moment of booking; StepRefused at the first doubt."""
    site = episode.patient.site
    limits.check_bookable(episode, visit=visit, at=at, moving=moving)
    if option.start <= at:
        raise StepRefused("That time has passed. Search again.")
    limits.check_day(episode, local_date(option.start, site.zone), visit=visit, at=at, moving=moving)
    diary.check_open(site, taken)


def _retime(steps: list[AppointmentStep], option: slots.Option, *, at: datetime) -> bool:
    """Give the steps their new times; True if any has changed. Its calendar entry takes note, the others stay."""
    later = []
    for step, placed in zip(steps, option.steps, strict=True):
        if (step.during.lower, step.during.upper) != (placed.start, placed.end):
            step.during = DateTimeTZRange(placed.start, placed.end)
            step.sequence += 1
            step.changed_at = at
            later.append(step)
    AppointmentStep.objects.bulk_update(later, ["during", "sequence", "changed_at"])
    return bool(later)


def _locked(appointment: Appointment) -> Appointment:
    related = ("site", "episode__patient", "episode__protocol__product")
    rows = Appointment.objects.select_related(*related).select_for_update(of=("self",), no_key=True)
    return rows.get(pk=appointment.pk)


def _become(appointment: Appointment, to: AppointmentStatus, *, by: str, at: datetime) -> Appointment:
    return move_status(
        appointment, to, moves=APPOINTMENT_MOVES, by=by, at=at, also={"changed_at": at, "held_until": None}
    )


def _give_up(appointment: Appointment, to: AppointmentStatus, *, reason: str, by: str, at: datetime) -> Appointment:
    """End a visit that will not be: free its time and cells, clear the anchor. Call with its resources locked."""
    only_held = appointment.status == AppointmentStatus.HELD  # nothing hangs on it, and it set no anchor
    if not only_held:
        _refuse_loose_ends(appointment)
    changes = {"changed_at": at, "held_until": None, "version": appointment.version + 1}
    appointment = move_status(appointment, to, moves=APPOINTMENT_MOVES, by=by, at=at, reason=reason, also=changes)
    _touch_steps(appointment, at=at)
    diary.release(appointment)
    cells.release(appointment, by=by, at=at)
    if appointment.visit == Visit.PROCEDURE and not only_held:
        Episode.objects.filter(pk=appointment.episode_id, injected=False).update(anchor_at=None)
    return appointment


def _refuse_loose_ends(appointment: Appointment) -> None:
    """What was taken from the patient is accounted for, and nothing that counts on the visit is left behind."""
    if appointment.visit == Visit.HARVEST and (procedure := limits.firm(appointment.episode, Visit.PROCEDURE)):
        on = limits.said(local_date(procedure.during.lower, appointment.site.zone))
        raise StepRefused(f"The procedure day on {on} needs this harvest. Cancel that first.")
    kept = Harvest.objects.filter(appointment=appointment, status__in=[HarvestStatus.COLLECTED, HarvestStatus.READY])
    if harvest := kept.first():
        raise StepRefused(f"{harvest} holds cells of this patient. Record that they failed or were discarded first.")


def _lapse(held: Appointment, *, by: str, at: datetime, reason: str = "The hold lapsed.") -> Appointment:
    ended = move_status(held, AppointmentStatus.CANCELLED, moves=APPOINTMENT_MOVES, by=by, at=at, reason=reason)
    _touch_steps(held, at=at)
    diary.release(held)
    cells.release(held, by=by, at=at)
    return ended


def _touch_steps(appointment: Appointment, *, at: datetime) -> None:
    """A calendar that has shown the steps takes note: their sequence rises."""
    appointment.steps.update(sequence=F("sequence") + 1, changed_at=at)


def _set_anchor(appointment: Appointment) -> None:
    """Law 1: every follow-up date hangs on this one value."""
    if appointment.visit != Visit.PROCEDURE or appointment.status == AppointmentStatus.HELD:
        return
    injection = appointment.steps.get(code=StepCode.INJECTION)
    Episode.objects.filter(pk=appointment.episode_id, injected=False).update(anchor_at=injection.during.lower)


def _refuse_lapsed(appointment: Appointment, at: datetime) -> None:
    if appointment.held_until is not None and appointment.held_until <= at:
        until = spoken(appointment.held_until, appointment.site.zone)
        raise StepRefused(f"The time was kept until {until}. Search again: it may still be free.")


def _refuse_second(appointment: Appointment) -> None:
    if appointment.instead_of_id is not None:
        raise StepRefused(
            "This time is offered in place of the one the patient has. Record their answer on the offer, or cancel it."
        )


def _said(reason: str) -> str:
    if said := clean(reason, lines=True):
        return said
    raise StepRefused("Say why: the reason is kept with the change.")
