"""What the verbs of booking have in common: a visit is written with all it needs, changed, or given up, always under
the locks of everything it touches."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.models import F, QuerySet

from clinic.clock import local_date, short_day, spoken
from clinic.status import Stale, StepRefused, note
from clinic.status import move as move_status
from clinic.text import clean
from scheduling import cells, chains, diary, limits, slots
from scheduling.chains import Taking
from scheduling.models import Appointment, AppointmentStep, Episode, Harvest, ProtocolStep, Verdict
from scheduling.models.protocol import StepCode, Visit
from scheduling.states import APPOINTMENT_MOVES, AppointmentStatus, HarvestStatus

Seen = Collection[int] | None  # the revisions that whoever asks may have looked at; None: they do not say


def place(
    episode: Episode,
    status: AppointmentStatus,
    *,
    visit: str,
    option: slots.Option,
    held_until: datetime | None = None,
    instead_of: Appointment | None = None,
    by: str,
    at: datetime,
) -> Appointment:
    """Write a new visit with its steps, reservations and cells. Call inside a transaction."""
    protocol_steps = chains.protocol_steps(episode.protocol, visit=visit)
    taken = claim(option, episode, visit=visit, protocol_steps=protocol_steps, by=by, at=at)
    let_lapse(diary.lapsed(at=at).filter(episode=episode, visit=visit), by=by, at=at)
    episode = fresh(episode)
    check(episode, visit, option, taken, at=at, moving=instead_of is not None)
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
    set_anchor(appointment, steps)
    return appointment


def claim(
    option: slots.Option,
    episode: Episode,
    *,
    visit: str,
    protocol_steps: Sequence[ProtocolStep],
    moving: Appointment | None = None,
    by: str,
    at: datetime,
) -> list[Taking]:
    """Lock all that the option takes, once it is seen to be what the protocol asks for, and free. Holds that have run
    out give way, and so does the old time of a visit that moves."""
    chain = chains.chain(episode.protocol, visit=visit, levels=len(episode.target_levels), rows=protocol_steps)
    given_back = diary.resources_of(moving) if moving else set()
    own, resources = diary.lock_with(episode.patient, chains.resource_ids(option) | given_back)
    if moving:
        diary.release(moving)
    taken = chains.takings(option, chain, resources=resources, patient=own)
    make_way(taken, resources.keys(), by=by, at=at)
    return taken


def make_way(taken: list[Taking], resource_ids: Collection[int], *, by: str, at: datetime) -> None:
    """TimeTaken, unless all that is in the way are holds that have run out: those end. Call with the resources locked.

    Seldom is anything in the way, so that is asked first."""
    try:
        diary.check_free(taken)
    except diary.TimeTaken:
        if not let_lapse(diary.lapsed_on(resource_ids, at=at), by=by, at=at):
            raise
        diary.check_free(taken)


def let_lapse(run_out: QuerySet[Appointment], *, by: str, at: datetime) -> int:
    """End these holds, which have run out, and say how many. One that somebody is working on is left to them."""
    held = run_out.order_by("pk").select_for_update(skip_locked=True, of=("self",))
    return len([lapse(appointment, by=by, at=at) for appointment in held])


def fresh(episode: Episode) -> Episode:
    """The episode as it is now. Its verdict is locked, so that nobody withdraws it before we are done."""
    list(Verdict.objects.filter(episode=episode).select_for_update(of=("self",), no_key=True))
    return Episode.objects.select_related(*limits.ASKED).get(pk=episode.pk)


def check(
    episode: Episode, visit: str, option: slots.Option, taken: list[Taking], *, at: datetime, moving: bool = False
) -> None:
    """Everything else that must be so at the moment of booking; StepRefused at the first doubt."""
    site = episode.patient.site
    limits.check_bookable(episode, visit=visit, at=at, moving=moving)
    if option.start <= at:
        raise StepRefused("That time has passed. Search again.")
    limits.check_day(episode, local_date(option.start, site.zone), visit=visit, at=at, moving=moving)
    diary.check_open(site, taken)


def retime(steps: list[AppointmentStep], option: slots.Option, *, at: datetime) -> bool:
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


def locked(appointment: Appointment, *, seen: Seen = None) -> Appointment:
    """The visit as it is now, and nobody else's until we are done. Stale if it is not as it was `seen`."""
    related = ("site", "episode__patient", "episode__protocol__product")
    rows = Appointment.objects.select_related(*related).select_for_update(of=("self",), no_key=True)
    row = rows.get(pk=appointment.pk)
    if seen is not None and row.revision not in seen:
        raise Stale("Somebody has changed this visit since you looked at it. Look at it again, then decide.")
    return row


def become(appointment: Appointment, to: AppointmentStatus, *, by: str, at: datetime) -> Appointment:
    return move_status(
        appointment, to, moves=APPOINTMENT_MOVES, by=by, at=at, also={"changed_at": at, "held_until": None}
    )


def give_up(appointment: Appointment, to: AppointmentStatus, *, reason: str, by: str, at: datetime) -> Appointment:
    """End a visit that will not be: free its time and cells, clear the anchor. Call with its resources locked."""
    only_held = appointment.status == AppointmentStatus.HELD  # nothing hangs on it, and it set no anchor
    if not only_held:
        _refuse_loose_ends(appointment)
    changes = {"changed_at": at, "held_until": None, "version": appointment.version + 1}
    appointment = move_status(appointment, to, moves=APPOINTMENT_MOVES, by=by, at=at, reason=reason, also=changes)
    touch_steps(appointment, at=at)
    diary.release(appointment)
    cells.release(appointment, by=by, at=at)
    if appointment.visit == Visit.PROCEDURE and not only_held:
        Episode.objects.filter(pk=appointment.episode_id, injected=False).update(anchor_at=None)
    return appointment


def _refuse_loose_ends(appointment: Appointment) -> None:
    """What was taken from the patient is accounted for, and nothing that counts on the visit is left behind."""
    if appointment.visit == Visit.HARVEST and (procedure := limits.firm(appointment.episode, Visit.PROCEDURE)):
        on = short_day(local_date(procedure.during.lower, appointment.site.zone))
        raise StepRefused(f"The procedure day on {on} needs this harvest. Cancel that first.")
    kept = Harvest.objects.filter(appointment=appointment, status__in=[HarvestStatus.COLLECTED, HarvestStatus.READY])
    if harvest := kept.first():
        raise StepRefused(f"{harvest} holds cells of this patient. Record that they failed or were discarded first.")


def lapse(held: Appointment, *, by: str, at: datetime, reason: str = "The hold lapsed.") -> Appointment:
    ended = move_status(held, AppointmentStatus.CANCELLED, moves=APPOINTMENT_MOVES, by=by, at=at, reason=reason)
    touch_steps(held, at=at)
    diary.release(held)
    cells.release(held, by=by, at=at)
    return ended


def touch_steps(appointment: Appointment, *, at: datetime, only: Iterable[AppointmentStep] | None = None) -> None:
    """A calendar that has shown the steps takes note: their sequence rises."""
    steps = appointment.steps.all()
    if only is not None:
        steps = steps.filter(pk__in=[step.pk for step in only])
    steps.update(sequence=F("sequence") + 1, changed_at=at)


def set_anchor(appointment: Appointment, steps: Iterable[AppointmentStep]) -> None:
    """Law 1: every follow-up date hangs on this one value."""
    if appointment.visit != Visit.PROCEDURE or appointment.status == AppointmentStatus.HELD:
        return
    injection = next(step for step in steps if step.code == StepCode.INJECTION)
    Episode.objects.filter(pk=appointment.episode_id, injected=False).update(anchor_at=injection.during.lower)


def refuse_lapsed(appointment: Appointment, at: datetime) -> None:
    if appointment.held_until is not None and appointment.held_until <= at:
        until = spoken(appointment.held_until, appointment.site.zone)
        raise StepRefused(f"The time was kept until {until}. Search again: it may still be free.")


def refuse_second(appointment: Appointment) -> None:
    """A hold beside a booking is taken up through its offer only (`bookings.take_up`)."""
    if appointment.instead_of_id is not None:
        raise StepRefused(
            "This time is offered in place of the one the patient has. Record their answer on the offer, or cancel it."
        )


def said(reason: str) -> str:
    if said := clean(reason, lines=True):
        return said
    raise StepRefused("Say why: the reason is kept with the change.")
