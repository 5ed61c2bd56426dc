"""How many messages may leave in a minute: in all, and to one mail domain. The count is kept in the database, so that
all workers share it and none of them needs the broker."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection

from clinic.models.delivery import SendCount

MINUTE = timedelta(minutes=1)
EVERYWHERE = ""
KEPT = timedelta(hours=1)

# One more in this minute, if there is room; otherwise one more that has to wait. In one statement, so that two workers
# cannot both take the last place.
TAKE = """
INSERT INTO clinic_sendcount AS counted (name, minute, sent, refused)
VALUES (%(name)s, date_trunc('minute', clock_timestamp()), 1, 0)
    ON CONFLICT (name, minute) DO UPDATE
   SET sent = least(counted.sent + 1, %(most)s),
       refused = counted.refused + CASE WHEN counted.sent >= %(most)s THEN 1 ELSE 0 END
RETURNING refused, minute + interval '1 minute' - clock_timestamp()
"""


def take_one() -> bool:
    """Whether one more message may leave in this minute."""
    return not _wait_for(EVERYWHERE, settings.MESSAGES_PER_MINUTE)


def wait_for(address: str) -> timedelta:
    """How long a mail to `address` has to wait for its domain's turn; zero if it may go now. Those who wait are spread
    over the minutes that follow, so that they do not all come back at once."""
    domain = address.rpartition("@")[2].lower()
    return _wait_for(domain, settings.DOMAIN_MESSAGES_PER_MINUTE) if domain else timedelta(0)


def _wait_for(name: str, most: int) -> timedelta:
    if not most:
        return timedelta(0)
    with connection.cursor() as cursor:
        cursor.execute(TAKE, {"name": name, "most": most})
        place, rest = cursor.fetchone()
    if not place:
        return timedelta(0)
    return rest + (place - 1) // most * MINUTE + MINUTE * ((place - 1) % most) / most


def forget_old(*, at: datetime) -> int:
    """Counts of minutes that are over. Returns how many."""
    return SendCount.objects.filter(minute__lt=at - KEPT).delete()[0]
