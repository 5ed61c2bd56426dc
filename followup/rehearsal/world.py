"""The rehearsal's clock, agenda and dice."""

import heapq
import random
from collections.abc import Callable
from datetime import datetime, time, timedelta
from itertools import count
from typing import Any

from clinic import clock, messages
from clinic.models import Site
from clinic.status import StepRefused
from followup import events, outcomes
from followup import reminders as followup_reminders
from followup.rehearsal.report import Report
from scheduling import bookings
from scheduling import reminders as scheduling_reminders

TICKS = (time(9, 5), time(18, 30))  # local times at which the sweeps run; agenda items run before them
MAILS_A_SWEEP = 50


class World:
    """One site, one moment, and what is going to happen to whom."""

    def __init__(self, site: Site, *, start: datetime, seed: int) -> None:
        self.site = site
        self.now = start
        self.start = start
        self.dice = random.Random(seed)  # noqa: S311 - a rehearsal wants the same dice again, not secret ones
        self.report = Report()
        self._agenda: list[tuple[datetime, int, Callable[[], Any]]] = []
        self._order = count()

    @property
    def today(self) -> Any:
        return clock.local_date(self.now, self.site.zone)

    def chance(self, probability: float) -> bool:
        return self.dice.random() < probability

    def at(self, moment: datetime, action: Callable[..., Any], *args: Any) -> None:
        """Let `action` happen at `moment`; if that has passed, at the next tick."""
        heapq.heappush(self._agenda, (moment, next(self._order), lambda: action(self, *args)))

    def on(self, day: Any, action: Callable[..., Any], *args: Any, hour: int = 10) -> None:
        self.at(clock.at_local(day, time(hour), self.site.zone), action, *args)

    def in_days(self, days: int, action: Callable[..., Any], *args: Any) -> None:
        self.on(next_weekday(self.today + timedelta(days=days)), action, *args)

    def pass_time(self, until: datetime) -> None:
        """Do what the agenda holds up to `until`, each thing at its own moment."""
        while self._agenda and self._agenda[0][0] <= until:
            moment, _, action = heapq.heappop(self._agenda)
            self.now = max(self.now, moment)
            try:
                action()
            except StepRefused as refusal:
                self.report.refusals[str(refusal)] += 1
        self.now = until

    def sweep(self) -> None:
        """What Celery beat would start: the same functions, at this world's time."""
        bookings.lapse_holds(at=self.now)
        events.open_due(at=self.now)
        events.miss_overdue(at=self.now)
        outcomes.complete_due(at=self.now)
        scheduling_reminders.queue_due(at=self.now)
        followup_reminders.queue_due(at=self.now)
        while True:
            result = messages.deliver(at=self.now, limit=MAILS_A_SWEEP)
            if sum(result.values()) < MAILS_A_SWEEP:
                break


def next_weekday(day: Any) -> Any:
    return day + timedelta(days=(7 - day.weekday()) if day.weekday() > 4 else 0)
