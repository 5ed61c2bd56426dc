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

    def written(self, *, at: datetime) -> Message:
        """The row for the queue: what is late by now, after an outage, does not go at night either."""
        if not self.whatever_the_hour:
            late = self.quiet.moved(at, latest=self.latest, not_before=at)
            self.message.due_at = late if late > at else self.message.due_at
        return self.message


def due(planned: Iterable[Planned], *, at: datetime) -> Iterator[Message]:
    """What is to be queued at `at`."""
    return (one.written(at=at) for one in planned if one.message.due_at <= at)


def coming(planned: Iterable[Planned], *, at: datetime, until: datetime, overdue: bool) -> Iterator[Message]:
    """What becomes due after `at` and not after `until`; with `overdue` also what is to be queued at `at`."""
    for one in planned:
        if at < one.message.due_at <= until:
            yield one.message
        elif overdue and one.message.due_at <= at:
            yield one.written(at=at)


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
