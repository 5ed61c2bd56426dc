"""The sweep that sends what is due, and what every sweep shares: the database's clock, and parts that fail alone."""

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

from celery import shared_task
from django.core.cache import cache
from django.db import connection

from clinic import answers, faults, maildirs, messages, phone

log = logging.getLogger(__name__)


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
        beat(sweep, at=at)
    return counts


def beat(sweep: str, *, at: datetime) -> None:
    """Note when a sweep last went through (shown by /readyz). Informational: without the cache it is not noted."""
    with suppress(Exception):
        cache.set(f"last:{sweep}", at.isoformat(), timeout=None)


@shared_task(name="clinic.deliver_messages")
def deliver_messages() -> dict[str, Any]:
    at = database_now()
    counts = {"recovered": messages.recover(), **messages.deliver(at=at)}
    beat("clinic.deliver_messages", at=at)
    return counts


@shared_task(name="clinic.read_bounces")
def read_bounces() -> dict[str, int]:
    """What mail servers wrote back, and the calls that need not be made any more."""
    parts = {"bounces_read": maildirs.read_bounces, "calls_put_aside": phone.tidy}
    return run_parts("clinic.read_bounces", parts)


@shared_task(name="clinic.forget_answers")
def forget_answers() -> dict[str, int]:
    return run_parts("clinic.forget_answers", {"answers_forgotten": answers.forget_old})
