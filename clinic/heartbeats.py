"""Whether the sweeps still run: each leaves a heartbeat in the database when it went through, and whoever watches asks
here how long one has been silent. The clock is the database's; the machines may disagree with each other."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from clinic.models import Heartbeat

DISPATCHER = "clinic.deliver_messages"  # without it nothing is sent: the one whose silence is an emergency

STANDS_STILL = "No message goes out: the sweep that delivers them does not run."

NEVER = timedelta.max

# The clock, every zone of a clinic and every heartbeat in one question: it is asked by each page of the desk.
HEARD = """
SELECT statement_timestamp(), ARRAY(SELECT DISTINCT time_zone FROM clinic_site ORDER BY 1), name, beat_at, counts
  FROM (SELECT 1) AS once LEFT JOIN clinic_heartbeat ON true
 ORDER BY name
"""


def beat(name: str, *, at: datetime, counts: Mapping[str, int] | None = None) -> None:
    """Note that the sweep `name`, begun at `at` by the database's clock, has gone through. The last one to write wins,
    not the latest: a clock that ran ahead for a while must not hide an hour of silence afterwards."""
    row = Heartbeat(name=name, beat_at=at, counts=dict(counts or {}))
    Heartbeat.objects.bulk_create(
        [row], update_conflicts=True, unique_fields=["name"], update_fields=["beat_at", "counts"]
    )


def silent_for(name: str, *, at: datetime) -> timedelta:
    """How long ago `name` last went through; NEVER, which is longer than anything, if it never did."""
    beat_at = Heartbeat.objects.filter(name=name).values_list("beat_at", flat=True).first()
    return NEVER if beat_at is None else abs(at - beat_at)


@dataclass(frozen=True)
class Pulse:
    """One sweep as it was heard `at`."""

    name: str
    at: datetime
    beat_at: datetime | None
    counts: Mapping[str, int]

    @property
    def silence(self) -> timedelta:
        # A beat from the future says that the clock was set back: the next one will tell, and until then as little is
        # known as after an old one.
        return NEVER if self.beat_at is None else abs(self.at - self.beat_at)

    @property
    def silent(self) -> bool:
        return self.silence > allowed(self.name)


@dataclass(frozen=True)
class Heard:
    """What one question to the database brought: the sweeps there should be, and where the clinics are."""

    at: datetime
    zones: tuple[str, ...]
    pulses: tuple[Pulse, ...]

    @property
    def dispatcher(self) -> Pulse:
        return next(pulse for pulse in self.pulses if pulse.name == DISPATCHER)

    @property
    def silent(self) -> tuple[Pulse, ...]:
        return tuple(pulse for pulse in self.pulses if pulse.silent)


def allowed(name: str) -> timedelta:
    """How long a sweep may be silent: the setting, or two of its own periods where those are longer."""
    schedule: dict[str, Any] = settings.CELERY_BEAT_SCHEDULE
    return max(settings.SILENT_AFTER, 2 * schedule[name]["schedule"]) if name in schedule else settings.SILENT_AFTER


def listen() -> Heard:
    """Every sweep of the schedule, whether it was ever heard or not, in one question."""
    with connection.cursor() as cursor:
        cursor.execute(HEARD)
        rows = cursor.fetchall()
    at, zones, *_ = rows[0]
    beats: dict[str, Any] = {name: (beat_at, json.loads(counts)) for _, _, name, beat_at, counts in rows if name}
    names = sorted({DISPATCHER, *settings.CELERY_BEAT_SCHEDULE})
    return Heard(at, tuple(zones), tuple(Pulse(name, at, *beats.get(name, (None, {}))) for name in names))
