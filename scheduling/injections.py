"""Step 5: the injection as it happened. Leaves behind the Injection with its levels, and the anchor of everything that
follows: its actual end."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict, Unpack

from django.db import transaction

from clinic.clock import local_date, spoken
from clinic.status import StepRefused, move
from clinic.text import clean
from scheduling import cells, criteria, limits
from scheduling.facts import facts_of
from scheduling.models import Appointment, Episode, Harvest, InjectedLevel, Injection, Unit
from scheduling.models.product import CellSource
from scheduling.models.protocol import Visit
from scheduling.states import (
    APPOINTMENT_MOVES,
    EPISODE_MOVES,
    HARVEST_MOVES,
    UNIT_MOVES,
    AppointmentStatus,
    EpisodeStatus,
    HarvestStatus,
    UnitStatus,
)


class InjectionRefused(StepRefused):
    """A check at time-out does not hold: nothing may be injected, or what is told cannot have happened."""

    code = "injection_refused"


class Displayed(TypedDict, total=False):
    """What the C-arm displayed, and what else there is to say: each may be left out."""

    fluoroscopy_seconds: int | None
    dose_area_product: Decimal | None
    air_kerma_mgy: Decimal | None
    notes: str


@transaction.atomic
def record(
    appointment: Appointment,
    *,
    started_at: datetime,
    ended_at: datetime,
    levels: Sequence[Mapping[str, Any]],
    needle_gauge: int,
    injected_by: str,
    matched_by: tuple[str, str],
    by: str,
    at: datetime,
    matched_at: datetime | None = None,
    kit: str = "",
    day_facts: Mapping[str, Any] | None = None,
    **displayed: Unpack[Displayed],
) -> Injection:
    """Record what was injected; the day is done and follow-up begins.

    `levels` has one {level, volume_ml, cells_million?} for each disc; `day_facts` what was found out this morning, such
    as {pregnancy_test_result, hours_since_test}. The two-person match was at `matched_at`, or as the needle went in.
    """
    appointment = _locked(appointment)
    injection = Injection(
        episode=appointment.episode,
        appointment=appointment,
        started_at=started_at,
        ended_at=ended_at,
        injected_by=clean(injected_by),
        matched_by=cells.two_people(matched_by),
        matched_at=matched_at or started_at,
        kit=clean(kit),
        needle_gauge=needle_gauge,
        **displayed | {"notes": clean(displayed.get("notes", ""), lines=True)},
    )
    _check(injection, levels, day_facts or {}, at=at)
    _use_cells(injection, discs=len(levels), by=by, at=at)
    injection.save(force_insert=True)
    _keep_levels(injection, levels)
    _begin_follow_up(injection, by=by, at=at)
    return injection


def _check(
    injection: Injection, levels: Sequence[Mapping[str, Any]], day_facts: Mapping[str, Any], *, at: datetime
) -> None:
    _check_day(injection, at=at)
    _check_levels(injection.episode, levels)
    _check_criteria(injection.episode, day_facts, at=injection.started_at)
    cells.check_fields(injection)


def _use_cells(injection: Injection, *, discs: int, by: str, at: datetime) -> None:
    if injection.episode.protocol.product.source == CellSource.ALLOGENEIC:
        _use_units(injection.appointment, discs=discs, started_at=injection.started_at, by=by, at=at)
    else:
        _use_harvest(injection.episode, injection.kit, by=by, at=at)


def _begin_follow_up(injection: Injection, *, by: str, at: datetime) -> None:
    """Law 1: from now on every date hangs on the actual end."""
    day, episode = injection.appointment, injection.episode
    move(day, AppointmentStatus.FULFILLED, moves=APPOINTMENT_MOVES, by=by, at=at, also={"changed_at": at})
    anchor = {"anchor_at": injection.ended_at, "injected": True}
    move(episode, EpisodeStatus.ACTIVE, moves=EPISODE_MOVES, by=by, at=at, also=anchor)


def _locked(appointment: Appointment) -> Appointment:
    related = ("site", "episode__patient__site", "episode__protocol__product", "episode__verdict__criteria")
    rows = Appointment.objects.select_related(*related).select_for_update(of=("self",), no_key=True)
    return rows.get(pk=appointment.pk)


def _check_day(injection: Injection, *, at: datetime) -> None:
    appointment, started_at, ended_at = injection.appointment, injection.started_at, injection.ended_at
    zone = appointment.site.zone
    if appointment.visit != Visit.PROCEDURE:
        raise InjectionRefused(f"{appointment} is not a procedure day.")
    if appointment.status != AppointmentStatus.ARRIVED:
        raise InjectionRefused(
            f"{appointment} is {appointment.get_status_display()}. Only a patient who has checked in is injected, "
            "and once."
        )
    if ended_at <= started_at:
        raise InjectionRefused("The injection must end after it starts.")
    if ended_at > at:
        raise InjectionRefused(f"The injection cannot end on {spoken(ended_at, zone)}: that is still to come.")
    day = local_date(appointment.during.lower, zone)
    if local_date(started_at, zone) != day:
        raise InjectionRefused(
            f"The procedure day is {spoken(appointment.during.lower, zone)}; the injection is said to have started on "
            f"{spoken(started_at, zone)}. Correct the time."
        )
    if injection.matched_at > started_at or local_date(injection.matched_at, zone) != day:
        raise InjectionRefused(
            f"Patient and cells are matched on the day and before the needle goes in, and the match is said to have "
            f"been on {spoken(injection.matched_at, zone)}. Correct the time."
        )


def _check_levels(episode: Episode, levels: Sequence[Mapping[str, Any]]) -> None:
    given = [level.get("level", "") for level in levels]
    protocol = episode.protocol
    if not given or len(given) > protocol.max_levels:
        raise InjectionRefused(f"{protocol} injects 1 to {protocol.max_levels} discs; {len(given)} are given.")
    if len(set(given)) < len(given):
        raise InjectionRefused("A disc is named twice. Record each disc once.")
    if unplanned := [level for level in given if level not in episode.target_levels]:
        raise InjectionRefused(
            f"{', '.join(map(str, unplanned))} was not evaluated for this treatment; planned: "
            f"{', '.join(episode.target_levels)}."
        )


def _check_criteria(episode: Episode, day_facts: Mapping[str, Any], *, at: datetime) -> None:
    """The verdict still stands, and so do the criteria asked on the day itself, such as a pregnancy test."""
    limits.check_verdict(episode.verdict)
    kept = episode.verdict.criteria
    document = {name: getattr(kept, name) for name in ("version", "title", "rules", "valid_days")}
    known = facts_of(episode.verdict.evaluation, protocol=episode.protocol, at=at)
    try:
        verdict = criteria.judge(criteria.RuleSet.from_json(document), known | dict(day_facts), when="day_of_procedure")
    except ValueError as wrong:
        raise InjectionRefused(f"What was found on the day cannot be judged. {wrong}") from wrong
    if verdict.outcome != "eligible":
        failed = [reason.line for reason in verdict.reasons if reason.outcome in ("fail", "cannot_decide")]
        raise InjectionRefused(f"Not to be injected today. {'. '.join(failed)}.")


def _use_harvest(episode: Episode, kit: str, *, by: str, at: datetime) -> None:
    """The kit read at time-out is one that this patient's cells of this treatment went into, and no other."""
    harvests = Harvest.objects.filter(appointment__episode=episode, status=HarvestStatus.READY)
    ready = list(harvests.order_by("harvested_at").select_for_update(of=("self",), no_key=True))
    if not ready:
        raise InjectionRefused("No cells of this patient are processed and ready. Record that first.")
    read = next((harvest for harvest in ready if harvest.kit == kit), None)
    if read is None:
        kits = " and ".join(harvest.kit for harvest in ready)
        raise InjectionRefused(
            f"The kit read is {kit or 'empty'}; this patient's cells are in kit {kits}. Stop: do not inject."
        )
    move(read, HarvestStatus.USED, moves=HARVEST_MOVES, by=by, at=at)


def _use_units(appointment: Appointment, *, discs: int, started_at: datetime, by: str, at: datetime) -> None:
    """Every unit used was thawed, is still good, and was thawed no longer ago than the product allows: a hard stop."""
    protocol = appointment.episode.protocol
    cells.lock_lots(protocol.product, appointment.site)  # a recall comes before or after, never in between
    units = (
        cells.of(appointment).select_related("lot__site", "lot__product").select_for_update(of=("self",), no_key=True)
    )
    thawed = [unit for unit in units if unit.status == UnitStatus.THAWED]
    wanted = cells.needed(protocol, visit=appointment.visit, levels=discs)
    if len(thawed) != wanted:
        raise InjectionRefused(
            f"{discs} discs take {wanted} units, and {len(thawed)} were thawed. Record the thaw of each unit that was "
            "injected, and discard each that was thawed and not used."
        )
    for unit in thawed:
        _check_unit(unit, started_at=started_at)
        move(unit, UnitStatus.USED, moves=UNIT_MOVES, by=by, at=at)
    cells.release(appointment, by=by, at=at)  # a disc that was planned and not injected leaves its unit in store


def _check_unit(unit: Unit, *, started_at: datetime) -> None:
    if why := cells.unusable(unit, at=started_at):
        raise InjectionRefused(f"Unit {unit} must not be injected: {why}. Discard it.")
    if unit.thaw_started_at is None or started_at < unit.thaw_started_at:
        raise InjectionRefused(f"Unit {unit} was thawed after the injection started. Correct the times.")
    use_by = cells.use_by(unit)
    if use_by is None:
        raise InjectionRefused("The product has no post-thaw limit. Enter it before anything is injected.")
    if started_at > use_by:
        until = spoken(use_by, unit.lot.site.zone)
        raise InjectionRefused(f"Unit {unit} could be used until {until}. It must not be injected: discard it.")


def _keep_levels(injection: Injection, levels: Sequence[Mapping[str, Any]]) -> None:
    for given in levels:
        row = InjectedLevel(
            injection=injection,
            level=given["level"],
            volume_ml=given.get("volume_ml") or 0,
            cells_million=given.get("cells_million"),
        )
        cells.check_fields(row)
        if row.volume_ml <= 0 or (row.cells_million or 0) < 0:
            raise InjectionRefused(f"Say how much was injected at {row.level}.")
        row.save(force_insert=True)
