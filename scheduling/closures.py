"""A room, device or person that cannot be used for a time, and what becomes of the visits that counted on it. Leaves
behind a Closure, its reservation, and every affected visit moved or cancelled: all in one commit or not at all."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.models import Exists, OuterRef, QuerySet

from clinic.clock import local_date, spoken_range
from clinic.status import StepRefused, note
from clinic.text import clean
from scheduling import bookings, chains, diary, slots
from scheduling.models import Appointment, Closure, Reservation, Resource
from scheduling.states import APPOINTMENT_AHEAD, AppointmentStatus
from scheduling.visits import let_lapse

DISTURBED = APPOINTMENT_AHEAD | {AppointmentStatus.ARRIVED}


def affected(resource: Resource, during: DateTimeTZRange) -> QuerySet[Appointment]:
    """The visits that need the resource in that time, or its turnover."""
    needed = Reservation.objects.filter(
        step__appointment=OuterRef("pk"), resource=resource, live=True, during__overlap=during
    )
    return Appointment.objects.filter(Exists(needed), status__in=DISTURBED).order_by("during")


def alternatives(
    appointment: Appointment,
    *,
    at: datetime,
    limit: int = 3,
    closing: tuple[Resource, DateTimeTZRange] | None = None,
    earliest: date | None = None,
    latest: date | None = None,
) -> bookings.Search:
    """Where the visit could go instead, from its own day on, without what is about to be closed."""
    zone = appointment.site.zone
    return bookings.find(
        appointment.episode,
        visit=appointment.visit,
        earliest=earliest or max(local_date(appointment.during.lower, zone), local_date(at, zone)),
        latest=latest,
        at=at,
        limit=limit,
        per_day=1,
        ignore=appointment,
        closing=closing,
    )


def close(
    resource: Resource,
    *,
    during: DateTimeTZRange,
    reason: str,
    by: str,
    at: datetime,
    plan: Mapping[Any, slots.Option | None],
    seen: Mapping[Any, int] | None = None,
) -> Closure:
    """Close the resource. `plan` says for every affected visit where it goes, or None to cancel it; `seen` at which
    revision of the visit that was decided, for those of whom the caller knows. Stale if one has changed since."""
    reason = clean(reason)
    _check(during, reason, at=at)
    by_key = {str(pk): option for pk, option in plan.items()}
    revisions = {str(pk): {revision} for pk, revision in (seen or {}).items()}
    return _close(resource, by_key, revisions, during=during, reason=reason, by=by, at=at)


@diary.one_commit()
def _close(
    resource: Resource,
    plan: Mapping[str, slots.Option | None],
    seen: Mapping[str, set[int]],
    *,
    during: DateTimeTZRange,
    reason: str,
    by: str,
    at: datetime,
) -> Closure:
    why = f"{resource} is closed: {reason}"
    for visit in _locked(resource, during, plan, by=by, at=at):
        option, since = plan[str(visit.pk)], seen.get(str(visit.pk))
        if option is None:
            bookings.cancel(visit, reason=why, seen=since, by=by, at=at)
        else:
            bookings.move(visit, option=option, reason=why, seen=since, by=by, at=at)
    closure = Closure.objects.create(resource=resource, during=during, reason=reason, closed_by=by, closed_at=at)
    note(closure, was="", became="closed", by=by, at=at, reason=reason)
    diary.block(closure)
    return closure


@diary.one_commit()
def reopen(closure: Closure, *, by: str, at: datetime) -> Closure:
    """The resource can be used again; visits that were moved stay where they are."""
    closure = Closure.objects.select_for_update(of=("self",), no_key=True).get(pk=closure.pk)
    if closure.reopened_at is not None:
        raise StepRefused(f"{closure.resource} was reopened already.")
    diary.unblock(closure)
    closure.reopened_at = at
    closure.save(update_fields=["reopened_at"])
    note(closure, was="closed", became="open", by=by, at=at)
    return closure


def _check(during: DateTimeTZRange, reason: str, *, at: datetime) -> None:
    if during.isempty or during.lower is None or during.upper is None or during.lower >= during.upper:
        raise StepRefused("Say from when to when it is closed.")
    if during.upper <= at:
        raise StepRefused("That time has passed; there is nothing to close.")
    if not reason or len(reason) > 200:
        raise StepRefused("Say why it is closed, in up to 200 characters.")


def _locked(
    resource: Resource, during: DateTimeTZRange, plan: Mapping[str, slots.Option | None], *, by: str, at: datetime
) -> list[Appointment]:
    """The affected visits, locked with all that they have and will have; StepRefused if the plan leaves one out. It
    does not have to speak of holds that have run out."""
    found = list(affected(resource, during).values_list("pk", flat=True))
    visits = list(Appointment.objects.filter(pk__in=found).order_by("pk").select_for_update(of=("self",), no_key=True))
    wanted = {resource.pk}.union(*(diary.resources_of(visit) for visit in visits))
    diary.lock(wanted.union(*(chains.resource_ids(option) for option in plan.values() if option)))
    let_lapse(diary.lapsed_on({resource.pk}, at=at), by=by, at=at)
    visits = list(affected(resource, during))
    if forgotten := [visit for visit in visits if str(visit.pk) not in plan or visit.pk not in found]:
        on = spoken_range(during.lower, during.upper, resource.site.zone)
        need = "1 visit needs" if len(visits) == 1 else f"{len(visits)} visits need"
        have = "1 has" if len(forgotten) == 1 else f"{len(forgotten)} have"
        raise StepRefused(
            f"{need} {resource} on {on}; {have} no plan. Say for each where it goes, or that it is cancelled."
        )
    return visits
