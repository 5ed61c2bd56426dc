"""What a visit is made of: a protocol's rows in, a chain for the search out, and whether a proposal keeps to it.

A proposal comes back from a screen or another system, so nothing in it is believed: every length, gap, person and
device is held against the protocol again.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import permutations
from zoneinfo import ZoneInfo

from clinic.clock import local_date
from clinic.status import StepRefused
from scheduling import slots
from scheduling.models import AppointmentStep, Protocol, ProtocolStep, Resource
from scheduling.models.appointment import ReservationKind
from scheduling.models.product import CellSource
from scheduling.models.protocol import ResourceKind, StepCode, Visit

YEARS = (1970, 9000)  # outside, local time and UTC cannot always be told apart

# Every step needs the patient. The protocol does not have to say so, and cannot forget it.
PATIENT = slots.Need(ResourceKind.PATIENT, role="patient")


@dataclass(frozen=True, slots=True)
class Taking:
    """One resource taken for one step of the chain, and for the turnover after it."""

    place: int
    resource: Resource
    role: str
    start: datetime
    end: datetime
    free_again: datetime


def protocol_steps(protocol: Protocol, *, visit: str) -> list[ProtocolStep]:
    return list(protocol.steps.filter(visit=visit).order_by("order").prefetch_related("needs"))


def chain(
    protocol: Protocol, *, visit: str, levels: int, rows: Sequence[ProtocolStep] | None = None
) -> tuple[slots.Step, ...]:
    """The steps of one visit for so many disc levels, in the words of the search. `rows` if they were read already."""
    rows = protocol_steps(protocol, visit=visit) if rows is None else rows
    if not rows:
        raise StepRefused(f"{protocol} has no {dict(Visit.choices).get(visit, visit)}.")
    steps = [_step(row, protocol, extra_levels=levels - 1) for row in rows]
    steps = [_used_in_time(step, before, protocol) for before, step in zip([None, *steps], steps, strict=False)]
    try:
        slots.check_chain(steps)
    except ValueError as wrong:
        raise StepRefused(f"{protocol} cannot be scheduled. {wrong}") from wrong
    return tuple(steps)


def check(protocol: Protocol, *, visit: str) -> None:
    """Raise StepRefused if no search could make sense of the protocol's steps."""
    chain(protocol, visit=visit, levels=1)


def _step(row: ProtocolStep, protocol: Protocol, *, extra_levels: int) -> slots.Step:
    needs = [
        slots.Need(need.kind, need.capability, need.count, need.role, need.turnover_minutes)
        for need in sorted(row.needs.all(), key=lambda need: need.pk)
    ]
    minutes = row.minutes + extra_levels * row.minutes_per_extra_level
    if row.code == StepCode.THAW:  # at least as long as the product takes, in whole ticks
        minutes = max(minutes, -(-(protocol.product.thaw_minutes or 0) // slots.TICK_MINUTES) * slots.TICK_MINUTES)
    return slots.Step(row.code, minutes, (PATIENT, *needs), row.gap_min, row.gap_max)


def _used_in_time(step: slots.Step, before: slots.Step | None, protocol: Protocol) -> slots.Step:
    """The injection waits after the thaw no longer than the product lasts."""
    limit = protocol.product.post_thaw_limit_minutes
    if before is None or before.code != StepCode.THAW or protocol.product.source != CellSource.ALLOGENEIC or not limit:
        return step
    left = (limit - before.minutes) // slots.TICK_MINUTES * slots.TICK_MINUTES
    if left < step.gap_min:
        raise StepRefused(
            f"{protocol.product} lasts {limit} minutes after thaw starts, and thaw and preparation alone take "
            f"{before.minutes + step.gap_min}. Correct the product or the protocol."
        )
    return slots.Step(step.code, step.minutes, step.needs, step.gap_min, min(step.gap_max, left))


def kinds(steps: Iterable[slots.Step]) -> set[str]:
    return {need.kind for step in steps for need in step.needs} - {PATIENT.kind}


def minutes_to_end_of(code: str, steps: Sequence[slots.Step]) -> int:
    """The fewest minutes from the first start to the end of the step with this code; 0 if there is none."""
    passed = 0
    for place, step in enumerate(steps):
        passed += (step.gap_min if place else 0) + step.minutes
        if step.code == code:
            return passed
    return 0


def placed(option: slots.Option, code: str) -> slots.Placed | None:
    return next((step for step in option.steps if step.code == code), None)


# Is a proposal what the protocol asks for?


def _misfit(why: str) -> StepRefused:
    return StepRefused(f"That time does not fit the protocol: {why}. Search again and choose one of the times found.")


def resource_ids(option: slots.Option) -> set[int]:
    """The resources a proposal names, whether they exist or not. The patient's own does not have to be named."""
    named = {unit for step in option.steps for units in step.units[1:] for unit in units}
    if not all(unit.isascii() and unit.isdigit() and len(unit) <= 18 for unit in named):
        raise _misfit("it names something that is not a resource of this clinic")
    return {int(unit) for unit in named}


def takings(
    option: slots.Option, steps: Sequence[slots.Step], *, resources: Mapping[int, Resource], patient: Resource
) -> list[Taking]:
    """Every resource the proposal takes, and from when to when; StepRefused if it is not what `steps` ask for."""
    zone = patient.site.zone
    _check_times(option, steps, zone)
    taken = [
        taking
        for place, (step, at) in enumerate(zip(steps, option.steps, strict=True))
        for taking in _seats(place, step, at, resources, patient)
    ]
    _check_roles(taken)
    _check_nobody_twice(taken)
    return taken


def _check_times(option: slots.Option, steps: Sequence[slots.Step], zone: ZoneInfo) -> None:
    if [at.code for at in option.steps] != [step.code for step in steps]:
        raise _misfit("its steps are not the protocol's")
    if any(not YEARS[0] < instant.year < YEARS[1] for at in option.steps for instant in (at.start, at.end)):
        raise _misfit("nobody comes in such a year")
    before: slots.Placed | None = None
    for step, at in zip(steps, option.steps, strict=True):
        name = StepCode(step.code).label
        if at.start.utcoffset() is None or at.end.utcoffset() is None:
            raise _misfit(f"{name} has a time without a time zone")
        if at.start.minute % slots.TICK_MINUTES or at.start.second or at.start.microsecond:
            raise _misfit(f"{name} does not start on a five-minute mark")
        if at.end - at.start != timedelta(minutes=step.minutes):
            raise _misfit(f"{name} must last {step.minutes} minutes")
        if local_date(at.end - slots.TICK, zone) != local_date(option.start, zone):
            raise _misfit("the visit must end on the day it begins")
        if before and not timedelta(minutes=step.gap_min) <= at.start - before.end <= timedelta(minutes=step.gap_max):
            raise _misfit(f"{name} must begin {step.gap_min} to {step.gap_max} minutes after the step before it")
        before = at


def _seats(
    place: int, step: slots.Step, at: slots.Placed, resources: Mapping[int, Resource], patient: Resource
) -> list[Taking]:
    """Who and what fills the needs of one step."""
    name = StepCode(step.code).label
    if len(at.units) != len(step.needs):
        raise _misfit(f"{name} does not have all it needs")
    seats = [Taking(place, patient, PATIENT.role, at.start, at.end, at.end)]
    for need, units in zip(step.needs[1:], at.units[1:], strict=True):
        if len(units) != need.count:
            raise _misfit(f"{name} needs {need.count} {ResourceKind(need.kind).label}")
        for unit in units:
            resource = resources.get(int(unit))
            if resource is None or resource.site_id != patient.site_id or not resource.active:
                raise _misfit(f"{name} names something that this clinic cannot book")
            if resource.kind != need.kind or (need.capability and need.capability not in resource.capabilities):
                raise _misfit(f"{resource} cannot do that part of {name}")
            seats.append(
                Taking(place, resource, need.role, at.start, at.end, at.end + timedelta(minutes=need.turnover))
            )
    return seats


def check_substitute(out: Resource, into: Resource, steps: Sequence[AppointmentStep]) -> None:
    """Raise StepRefused unless `into` can do, in each of these steps, what `out` does there now."""
    if into == out:
        raise StepRefused(f"Choose something else than {out} itself.")
    if out.kind == ResourceKind.PATIENT or into.kind != out.kind:
        raise StepRefused(f"{into} cannot stand in for {out}. Choose one of the same kind.")
    if into.site_id != out.site_id or not into.active:
        raise StepRefused(f"{into} cannot be booked at this clinic now. Choose another.")
    if not steps:
        raise StepRefused(f"{out} has no part in this visit that is still to come.")
    for step in steps:
        _check_seats_can_be_filled(step, out, into)


def _check_seats_can_be_filled(step: AppointmentStep, out: Resource, into: Resource) -> None:
    """The needs of one kind in a step may differ in what they ask for: somebody must be found for each."""
    needs = [need for need in step.protocol_step.needs.all() if need.kind == out.kind]
    asked = [need.capability for need in needs for _ in range(need.count)]
    rows = step.reservations.filter(live=True, kind=ReservationKind.STEP, resource__kind=out.kind)
    people = [into if row.resource == out else row.resource for row in rows.select_related("resource")]
    if not any(
        all(
            not capability or capability in person.capabilities for capability, person in zip(asked, order, strict=True)
        )
        for order in permutations(people, len(asked))
    ):
        raise StepRefused(f"{into} cannot do the part of {out} in {step}. Choose another.")


def _check_roles(taken: Iterable[Taking]) -> None:
    """The same role is played by the same people in every step it appears in."""
    players: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for taking in taken:
        if taking.role:
            players[taking.role][taking.place].add(taking.resource.pk)
    for role, places in players.items():
        if len({frozenset(people) for people in places.values()}) > 1:
            raise _misfit(f"the {role} must be the same throughout")


def _check_nobody_twice(taken: Iterable[Taking]) -> None:
    busy: dict[int, datetime] = {}
    for taking in sorted(taken, key=lambda taking: taking.start):
        if taking.start < busy.get(taking.resource.pk, taking.start):
            raise _misfit(f"{taking.resource} is needed twice at the same time")
        busy[taking.resource.pk] = taking.free_again
