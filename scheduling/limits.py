"""Whether a visit may be booked at all, and between which days: the signed verdict, the product's legal basis, the
cells' own time. Each limit carries the sentence that explains it, for the search and for the refusal alike."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db.models import Q

from clinic.clock import local_date, short_day
from clinic.models import Patient
from clinic.status import StepRefused
from scheduling.models import Appointment, Episode, Product, Verdict
from scheduling.models.evaluation import Outcome
from scheduling.models.product import CellSource, RegulatoryBasis
from scheduling.models.protocol import Visit
from scheduling.states import AppointmentStatus, EpisodeStatus, HarvestStatus, VerdictStatus

HORIZON = timedelta(days=365)
FIRM = (
    AppointmentStatus.BOOKED,
    AppointmentStatus.CONFIRMED,
    AppointmentStatus.ARRIVED,
    AppointmentStatus.FULFILLED,
)
NO_CELLS = (HarvestStatus.FAILED, HarvestStatus.DISCARDED)
ASKED = ("patient__site", "protocol__product", "verdict__criteria")  # what the limits of an episode hang on


@dataclass(frozen=True, slots=True)
class Limit:
    """The first or last day something allows, and why."""

    why: str
    first: date | None = None
    last: date | None = None

    def allows(self, day: date) -> bool:
        return (self.first is None or self.first <= day) and (self.last is None or day <= self.last)


# May it be booked at all?


def check_patient(patient: Patient) -> None:
    if patient.deceased:
        raise StepRefused("The patient has died. Nothing can be booked.")


def check_verdict(verdict: Verdict) -> None:
    """A clinician's signature under "eligible", whatever the criteria had said."""
    if verdict.status != VerdictStatus.SIGNED:
        raise StepRefused("The verdict is not signed. A clinician signs it before anything is booked.")
    if verdict.outcome != Outcome.ELIGIBLE:
        raise StepRefused(
            f"The signed verdict says: {verdict.get_outcome_display()}. Only an eligible patient is booked."
        )


def check_bookable(episode: Episode, *, visit: str, at: datetime, moving: bool = False) -> None:
    """Raise StepRefused if this visit cannot be booked on any day; `moving` says that it has a time already."""
    check_patient(episode.patient)
    if visit == Visit.MRI:
        if episode.status not in (EpisodeStatus.PLANNED, EpisodeStatus.ACTIVE):
            raise StepRefused(f"This treatment is over ({episode.get_status_display()}). No MRI can be booked for it.")
        return
    if episode.status != EpisodeStatus.PLANNED:
        raise StepRefused(f"This treatment is no longer planned ({episode.get_status_display()}).")
    check_verdict(episode.verdict)
    check_product(episode.protocol.product)
    kept = Q(visit=visit, status=AppointmentStatus.HELD, held_until__gt=at)
    if not moving and (present := _any(episode, _firm(visit) | kept)):
        raise StepRefused(
            f"This treatment has its {present.get_visit_display()} on {short_day(_day(present))} already. "
            "Move that one."
        )
    if visit == Visit.PROCEDURE and needs_harvest(episode) and firm(episode, Visit.HARVEST) is None:
        raise StepRefused("Book the harvest day first: the injection comes after the cells have grown.")


def check_product(product: Product) -> None:
    if product.regulatory_basis == RegulatoryBasis.NONE:
        raise StepRefused(f"{product} has no regulatory basis and cannot be booked. {product.regulatory_note}".strip())
    if product.source == CellSource.ALLOGENEIC and product.post_thaw_limit_minutes is None:
        raise StepRefused(f"{product} has no post-thaw limit. Enter the limit of the product before booking it.")
    if product.source == CellSource.ALLOGENEIC and product.thaw_minutes is None:
        raise StepRefused(f"{product} has no thaw time. Enter the time of the product before booking it.")


def needs_harvest(episode: Episode) -> bool:
    return episode.protocol.product.source == CellSource.EXPANDED


def firm(episode: Episode, visit: str) -> Appointment | None:
    """The episode's booked or finished visit of this kind. A harvest that gave no cells does not count."""
    return _any(episode, _firm(visit))


def _firm(visit: str) -> Q:
    found = Q(visit=visit, status__in=FIRM)
    return found & ~Q(harvest__status__in=NO_CELLS) if visit == Visit.HARVEST else found


def _any(episode: Episode, wanted: Q) -> Appointment | None:
    """Not `first()`: with a limit and an order, a kept plan walks through every visit of the clinic."""
    return next(iter(episode.appointments.filter(wanted)), None)


# On which days?


def limits(episode: Episode, *, visit: str, at: datetime, moving: bool = False) -> list[Limit]:
    """Everything that bounds the day of the visit; `moving` says that it is booked already, with its cells."""
    today = _local(episode, at)
    found = [
        Limit("A visit cannot be in the past.", first=today),
        Limit("Nothing is booked more than a year ahead.", last=today + HORIZON),
    ]
    if visit == Visit.PROCEDURE:
        found += _procedure_limits(episode, today=today, moving=moving)
    if visit == Visit.HARVEST:
        found += _harvest_limits(episode)
    return found


def check_day(episode: Episode, day: date, *, visit: str, at: datetime, moving: bool = False) -> None:
    for limit in limits(episode, visit=visit, at=at, moving=moving):
        if not limit.allows(day):
            raise StepRefused(limit.why)


def _procedure_limits(episode: Episode, *, today: date, moving: bool) -> list[Limit]:
    protocol, product = episode.protocol, episode.protocol.product
    found = [_verdict_limit(episode, days=0)]
    if product.regulatory_expires_on:
        ends = product.regulatory_expires_on
        found.append(Limit(f"The regulatory basis of {product} ends on {short_day(ends)}.", last=ends))
    if product.lead_days and not moving:
        first = today + timedelta(days=product.lead_days)
        found.append(
            Limit(f"{product} arrives {product.lead_days} days after its order, on {short_day(first)}.", first=first)
        )
    if needs_harvest(episode) and (harvest := firm(episode, Visit.HARVEST)):
        first = _day(harvest) + timedelta(days=protocol.expansion_days_min or 0)
        last = None if protocol.expansion_days_max is None else _day(harvest) + timedelta(protocol.expansion_days_max)
        found.append(
            Limit(
                f"After the harvest on {short_day(_day(harvest))} {_span('the procedure day must be', first, last)}",
                first,
                last,
            )
        )
    return found


def _harvest_limits(episode: Episode) -> list[Limit]:
    protocol = episode.protocol
    least = protocol.expansion_days_min or 0
    found = [_verdict_limit(episode, days=least)]
    if procedure := firm(episode, Visit.PROCEDURE):
        last = _day(procedure) - timedelta(days=least)
        first = (
            None if protocol.expansion_days_max is None else _day(procedure) - timedelta(protocol.expansion_days_max)
        )
        ahead = f"For the procedure day on {short_day(_day(procedure))} {_span('the harvest must be', first, last)}"
        found.append(Limit(f"{ahead} Choose such a day, or move the procedure day first.", first, last))
    return found


def _verdict_limit(episode: Episode, *, days: int) -> Limit:
    """The procedure must lie within the verdict's life, and so the harvest `days` before its end."""
    ends = episode.verdict.expires_on(episode.patient.site.zone)
    if ends is None:
        raise StepRefused("The verdict is not signed. A clinician signs it before anything is booked.")
    why = f"The signed verdict allows a procedure until {short_day(ends)}"
    if days:
        why += f", so the harvest must be by {short_day(ends - timedelta(days=days))}"
    return Limit(f"{why}. A later day needs a new evaluation.", last=ends - timedelta(days=days))


def _span(what: str, first: date | None, last: date | None) -> str:
    if first and last:
        return f"{what} between {short_day(first)} and {short_day(last)}."
    return (
        f"{what} from {short_day(first)}." if first else f"{what} by {short_day(last)}." if last else f"{what} any day."
    )


def _day(appointment: Appointment) -> date:
    return _local(appointment, appointment.during.lower)


def _local(row: Episode | Appointment, at: datetime) -> date:
    site = row.site if isinstance(row, Appointment) else row.patient.site
    return local_date(at, site.zone)
