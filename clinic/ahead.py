"""What will be said to patients as things stand: derived from the rules and the state of things whenever somebody asks,
and never stored. Whoever queues what is due says here, by the same derivation, what will become due
(settings.MESSAGE_PLANNERS)."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from django.conf import settings
from django.utils.module_loading import import_string

from clinic.models import Channel, Message, Patient, Site
from clinic.quiet import Quiet


class Planner(Protocol):
    """Unsaved rows that fall due after `at` and not after `until`; with `overdue` also those that are due and not yet
    queued."""

    def __call__(
        self,
        *,
        at: datetime,
        until: datetime,
        sites: Collection[Site] | None = None,
        patient: Patient | None = None,
        overdue: bool = False,
    ) -> Iterator[Message]: ...


@dataclass(frozen=True, slots=True)
class Planned:
    """An unsaved message that its rule makes due at some moment outside the quiet hours."""

    message: Message
    quiet: Quiet
    latest: datetime  # a morning after this is too late
    caused: bool = False  # by what somebody did just now

    @property
    def whatever_the_hour(self) -> bool:
        """Nobody is woken by an e-mail that they wait for, nor by a task on the desk."""
        return self.message.channel == Channel.PHONE or (self.caused and self.message.channel == Channel.EMAIL)

    def goes(self, *, at: datetime) -> datetime:
        """When it is sent, seen from `at`: what is late by then, after an outage, does not go at night either."""
        if self.message.due_at > at or self.whatever_the_hour:
            return self.message.due_at
        return self.quiet.moved(at, latest=self.latest, not_before=at)


def due(planned: Iterable[Planned], *, at: datetime) -> Iterator[Message]:
    """What is to be queued at `at`."""
    return (one.message for one in planned if one.goes(at=at) <= at)


def coming(planned: Iterable[Planned], *, at: datetime, until: datetime, overdue: bool) -> Iterator[Message]:
    """What becomes due after `at` and not after `until`, at the moment when it will be."""
    for one in planned:
        goes = one.goes(at=at)
        if at < goes <= until:
            one.message.due_at = goes
            yield one.message
        elif overdue and goes <= at:
            yield one.message


def expected(
    *,
    at: datetime,
    until: datetime,
    sites: Collection[Site] | None = None,
    patient: Patient | None = None,
    overdue: bool = False,
) -> list[Message]:
    """Everything that will fall due in (at, until] as things stand, the soonest first, with its patient and site."""
    planners: list[Planner] = [import_string(name) for name in settings.MESSAGE_PLANNERS]
    found = [
        message
        for planner in planners
        for message in planner(at=at, until=until, sites=sites, patient=patient, overdue=overdue)
    ]
    patients = Patient.objects.in_bulk({message.patient_id for message in found})
    places = Site.objects.in_bulk({message.site_id for message in found})
    for message in found:
        message.patient, message.site = patients[message.patient_id], places[message.site_id]
    return sorted(found, key=lambda message: (message.due_at, message.kind, message.about, message.occasion))
