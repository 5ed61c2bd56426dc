"""Figures about the service for Prometheus: counted in the database when they are asked for, so every web process says
the same and a restart loses nothing. Labels are names from our own code; nothing of a patient is among them."""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection
from django.utils.text import slugify
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from clinic import desk, heartbeats

# What is open, of any age, and what was settled within a day: never the whole table. The constants stand in the text so
# that the partial indexes are used also where the server keeps the plan; the clock is stable for the same reason.
OPEN = """
SELECT status, kind, channel, count(*),
       max(extract(epoch FROM statement_timestamp() - due_at)) FILTER (WHERE status = 'due'),
       count(*) FILTER (WHERE status = 'sending' AND lease_until < statement_timestamp())
  FROM (SELECT status, kind, channel, due_at, lease_until FROM clinic_message WHERE status IN ('due', 'sending')
         UNION ALL
        SELECT status, kind, channel, due_at, NULL FROM clinic_message WHERE status IN ('unknown', 'failed')) AS open
 GROUP BY status, kind, channel
 ORDER BY status, kind, channel
"""
SETTLED = """
SELECT status, kind, channel, count(*)
  FROM clinic_message
 WHERE coalesce(sent_at, due_at) > statement_timestamp() - interval '1 day' AND status IN ('sent', 'skipped')
 GROUP BY status, kind, channel
 ORDER BY status, kind, channel
"""
Sample = tuple[tuple[str, ...], float]  # values of the labels, and the figure
BY = ("status", "kind", "channel")


def registry(*, at: datetime) -> CollectorRegistry:
    """One for each scrape: nothing is remembered between two of them."""
    made = CollectorRegistry(auto_describe=False)
    made.register(_Counted(at))
    return made


class _Counted(Collector):
    def __init__(self, at: datetime) -> None:
        self.at = at  # by the clock of this machine

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield from _messages()
        yield from _sweeps(self.at)
        yield _queues(self.at)


def _messages() -> Iterator[GaugeMetricFamily]:
    standing = _asked(OPEN)
    yield _gauge("messages_open", "Messages that are not settled.", BY, _counts(standing))
    yield _gauge("messages_settled_last_day", "Messages sent or skipped within 24 hours.", BY, _counts(_asked(SETTLED)))
    oldest = max((float(row[4]) for row in standing if row[4] is not None), default=0.0)
    yield _alone("message_oldest_due_seconds", "How long the oldest message that is due has waited.", max(oldest, 0.0))
    unknown = sum(row[3] for row in standing if row[0] == "unknown")
    yield _alone("messages_unknown", "Messages of which a person must say whether they arrived.", unknown)
    late = sum(row[5] for row in standing)
    yield _alone("messages_sending_past_lease", "Messages whose worker stopped while sending.", late)


def _sweeps(at: datetime) -> Iterator[GaugeMetricFamily]:
    heard = heartbeats.listen()
    silences = [
        ((pulse.name,), math.inf if pulse.beat_at is None else pulse.silence.total_seconds()) for pulse in heard.pulses
    ]
    yield _gauge("heartbeat_age_seconds", "Since a sweep last went through; +Inf: it never did.", ("sweep",), silences)
    done = [((pulse.name, part), count) for pulse in heard.pulses for part, count in sorted(pulse.counts.items())]
    yield _gauge("sweep_last_run", "What the last run of a sweep did.", ("sweep", "part"), done)
    ahead = (at - heard.at).total_seconds()
    yield _alone("clock_offset_seconds", "This machine's clock less the database's.", ahead)


def _queues(at: datetime) -> GaugeMetricFamily:
    """The work queues of the desk's first page, counted for everybody at once."""
    everybody = get_user_model()(is_superuser=True)
    counts = [((slugify(queue.title),), queue.rows(everybody, at).count()) for queue in desk.QUEUES]
    return _gauge("queue_rows", "Rows waiting in a work queue of the desk.", ("queue",), counts)


def _asked(question: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchall()


def _counts(rows: list[tuple[Any, ...]]) -> list[Sample]:
    return [(row[:3], row[3]) for row in rows]


def _gauge(name: str, words: str, labels: Sequence[str], samples: Sequence[Sample]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"pulposus_{name}", words, labels=labels)
    for values, value in samples:
        family.add_metric(list(values), value)
    return family


def _alone(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"pulposus_{name}", words, value=value)
