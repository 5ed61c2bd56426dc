"""A POST that comes twice is done once: its answer is kept for a day under the key that the caller gave it.

The key is claimed and the answer written in the transaction of the step itself. A crash before the commit takes back
all three, so the caller may try again; after it the answer is there. No state lies between.
"""

import hashlib
from datetime import datetime, timedelta

from django.db import connection

from clinic.models import KeptAnswer
from clinic.status import StepRefused

KEPT_FOR = timedelta(hours=24)


class InFlight(StepRefused):
    """The first request with this key is still being worked on."""

    code = "in_flight"


def hash_of(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def claim(caller: str, key: str) -> None:
    """Have the key to oneself until the transaction ends; InFlight if somebody has it. Call inside a transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [lock_number(caller, key)])
        if not cursor.fetchone()[0]:
            raise InFlight("The same request is still being worked on. Wait a moment, then ask again.")


def lock_number(caller: str, key: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{caller}\0{key}".encode()).digest()[:8], signed=True)


def find(caller: str, key: str, *, at: datetime) -> KeptAnswer | None:
    fresh = KeptAnswer.objects.filter(answered_at__gt=at - KEPT_FOR)
    return fresh.filter(caller=caller, key_hash=hash_of(key.encode())).first()


def keep(caller: str, key: str, *, request_hash: str, status: int, body: str, etag: str, at: datetime) -> KeptAnswer:
    answer = {"request_hash": request_hash, "status": status, "body": body, "etag": etag, "answered_at": at}
    key_hash = hash_of(key.encode())
    return KeptAnswer.objects.update_or_create(caller=caller, key_hash=key_hash, defaults=answer)[0]


def forget_old(*, at: datetime) -> int:
    return KeptAnswer.objects.filter(answered_at__lte=at - KEPT_FOR).delete()[0]
