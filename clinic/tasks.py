"""The sweep that sends what is due, and what every sweep shares: the database's clock, and parts that fail alone."""

import logging
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from time import monotonic
from typing import Any

from celery import shared_task
from django.conf import settings
from django.db import DatabaseError, connection

from clinic import answers, bounces, faults, heartbeats, maildirs, messages, phone, rates, relay_log

log = logging.getLogger(__name__)

BATCH = 50  # messages on one line to the relay


def database_now() -> datetime:
    """The one clock that decides what is due: the machines of the workers may disagree with each other."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]


def run_parts(sweep: str, parts: dict[str, Callable[..., int]]) -> dict[str, int]:
    """Run each part of a sweep by itself and count what it did. One that fails is logged; the others go on, and the
    next tick tries it again."""
    at = database_now()
    counts: dict[str, int] = {}
    for name, part in parts.items():
        try:
            counts[name] = part(at=at)
        except Exception as fault:
            log.error("%s: %s failed: %s", sweep, name, faults.told(fault))
    if len(counts) == len(parts):
        beat(sweep, at=at, counts=counts)
    return counts


def beat(sweep: str, *, at: datetime, counts: dict[str, int]) -> None:
    """Note that a sweep went through (`clinic.heartbeats`). What it did is done, whether this can be noted or not."""
    try:
        heartbeats.beat(sweep, at=at, counts=counts)
    except DatabaseError as fault:
        log.error("%s went through, but left no heartbeat: %s", sweep, faults.told(fault))


@shared_task(name="clinic.deliver_messages")
def deliver_messages() -> dict[str, Any]:
    """Batch after batch while there is something to send, for one sweep's time: then the other sweeps have their turn
    at this worker, and the next tick goes on."""
    ends_at = monotonic() + settings.SWEEP_EVERY.total_seconds()
    begun = at = database_now()
    counts: Counter[str] = Counter(recovered=messages.recover(), reconciled=messages.reconcile(at=at))
    while True:
        ended = messages.deliver(at=at, limit=BATCH)
        counts.update(ended)
        if sum(ended.values()) < BATCH or monotonic() > ends_at:
            break
        at = database_now()
    beat(heartbeats.DISPATCHER, at=begun, counts=counts)
    return dict(counts)


@shared_task(name="clinic.read_bounces")
def read_bounces() -> dict[str, int]:
    """What mail servers said or wrote back of addresses, and the calls that need not be made any more."""
    parts = {
        "bounces_read": maildirs.read_bounces,
        "addresses_refused": bounces.take_refused,
        "calls_put_aside": phone.tidy,
    }
    return run_parts("clinic.read_bounces", parts)


@shared_task(name="clinic.forget_answers")
def forget_answers() -> dict[str, int]:
    parts = {
        "answers_forgotten": answers.forget_old,
        "rates_forgotten": rates.forget_old,
        "relay_entries_forgotten": relay_log.forget_old,
    }
    return run_parts("clinic.forget_answers", parts)
