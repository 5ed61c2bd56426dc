"""Time that was given back: found among the released reservations, written down once as a FreedTime, and whether a
patient's whole visit fits into it. A cancelled visit, one that moved away, a hold that lapsed, a closure reopened: all
of them release reservations, so nothing has to tell this module."""

from collections import defaultdict
from collections.abc import Collection
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange

from clinic.clock import local_date, short_day
from scheduling import search, slots
from scheduling.models import Appointment, FreedTime, Reservation, WaitlistEntry
from scheduling.models.appointment import ReservationKind
from scheduling.states import OfferStatus

LOOKED_AT = 500  # options of the days around a freed time; a day has at most a hundred

# Everything a sweep might have to do, in one question: it is asked every few seconds and mostly answered with nothing.
WORK = """
WITH waiting AS (
    SELECT e.id, p.site_id, ep.status <> 'planned' OR p.deceased AS over
      FROM scheduling_waitlistentry e
      JOIN scheduling_episode ep ON ep.id = e.episode_id
      JOIN clinic_patient p ON p.id = ep.patient_id
     WHERE e.status = 'waiting'),
released AS MATERIALIZED (  -- by itself, so that it is read through its own index
    SELECT r.id, r.during, r.resource_id, r.step_id
      FROM scheduling_reservation r
     WHERE NOT r.live AND lower(r.during) >= %(soonest)s AND EXISTS (SELECT FROM waiting))
SELECT 'ended' AS what, o.id::text AS id, NULL::timestamptz AS starts
  FROM scheduling_waitlistoffer o
  JOIN scheduling_appointment h ON h.id = o.held_id
  LEFT JOIN scheduling_appointment b ON b.id = h.instead_of_id
 WHERE o.status = 'open'
   AND (o.until <= %(at)s OR h.status <> 'held' OR h.during <> o.during
        OR b.status NOT IN ('booked', 'confirmed') OR lower(b.during) <= lower(o.during))
UNION ALL
SELECT 'over', w.id::text, NULL FROM waiting w WHERE w.over
UNION ALL
SELECT 'freed', r.id::text, lower(r.during)
  FROM released r
  JOIN scheduling_resource x ON x.id = r.resource_id AND x.kind = 'patient'
  JOIN scheduling_appointmentstep s ON s.id = r.step_id AND s."order" = 1
  JOIN scheduling_appointment a ON a.id = s.appointment_id AND a.instead_of_id IS NULL
 WHERE x.site_id IN (SELECT site_id FROM waiting WHERE NOT over)
   AND NOT EXISTS (SELECT FROM scheduling_freedtime f WHERE f.reservation_id = r.id)
   AND NOT EXISTS (SELECT FROM scheduling_waitlistoffer o WHERE o.held_id = a.id AND o.status <> 'accepted')
UNION ALL
SELECT 'freed', r.id::text, lower(r.during)
  FROM scheduling_closure c
  JOIN scheduling_reservation r ON r.closure_id = c.id AND NOT r.live
  JOIN scheduling_resource x ON x.id = r.resource_id
 WHERE c.reopened_at IS NOT NULL AND upper(c.during) > %(soonest)s
   AND x.site_id IN (SELECT site_id FROM waiting WHERE NOT over)
   AND NOT EXISTS (SELECT FROM scheduling_freedtime f WHERE f.reservation_id = r.id)
UNION ALL
SELECT 'due', f.id::text, lower(f.during)
  FROM scheduling_freedtime f
  JOIN scheduling_reservation r ON r.id = f.reservation_id
  JOIN clinic_site c ON c.id = f.site_id
   AND (%(at)s::timestamptz AT TIME ZONE c.time_zone)::time >= %(from_hour)s
   AND (%(at)s::timestamptz AT TIME ZONE c.time_zone)::time < %(to_hour)s
 WHERE (lower(f.during) >= %(soonest)s OR r.kind = 'closure' AND upper(f.during) > %(soonest)s)
   AND NOT EXISTS (SELECT FROM scheduling_waitlistoffer o
                    WHERE o.freed_id = f.id
                      AND (o.status = 'open' OR o.status = 'accepted' AND r.kind <> 'closure'))
   AND EXISTS (SELECT FROM waiting w
                WHERE w.site_id = f.site_id AND NOT w.over
                  AND NOT EXISTS (SELECT FROM scheduling_waitlistoffer o
                                   WHERE o.entry_id = w.id AND (o.freed_id = f.id OR o.status = 'open')))
 ORDER BY starts, id
"""


def work(*, at: datetime) -> dict[str, list[str]]:
    """What a sweep of the waitlist has to do, by kind: the ids, the earliest time first. Empty when it is idle."""
    found: dict[str, list[str]] = defaultdict(list)
    from_hour, to_hour = settings.WAITLIST_HOURS
    terms: dict[str, Any] = {
        "at": at,
        "soonest": at + settings.WAITLIST_NOTICE,
        "from_hour": from_hour,
        "to_hour": to_hour,
    }
    with connection.cursor() as cursor:
        cursor.execute(WORK, terms)
        for what, pk, _starts in cursor.fetchall():
            found[what].append(pk)
    return found


def notice(reservations: Collection[int], *, at: datetime) -> None:
    """Write down what became free with these released reservations."""
    rows = Reservation.objects.filter(pk__in=reservations).select_related("resource", "step")
    times = [
        FreedTime(
            site_id=row.resource.site_id,
            reservation=row,
            during=DateTimeTZRange(row.during.lower, _freed_until(row)),
            noticed_at=at,
        )
        for row in rows
    ]
    FreedTime.objects.bulk_create(times, ignore_conflicts=True)  # another sweep may have noticed it as well


def _freed_until(first: Reservation) -> datetime:
    """The end of what was released with `first`: the patient's rows of one placement are written together, and a
    later placement of the same visit begins with its first step again."""
    end = first.during.upper
    if first.step is None:
        return end
    later = Reservation.objects.filter(
        resource=first.resource_id, step__appointment=first.step.appointment_id, pk__gt=first.pk
    )
    for row in later.order_by("pk"):
        if row.step_id == first.step_id:
            break
        end = max(end, row.during.upper)
    return end


def is_gone(time: FreedTime) -> bool:
    """Offered to somebody now, or taken. A closure that was reopened may have room for more than one."""
    ends = [OfferStatus.OPEN]
    if time.reservation.kind != ReservationKind.CLOSURE:
        ends.append(OfferStatus.ACCEPTED)
    return time.offers.filter(status__in=ends).exists()


def fitting(
    time: FreedTime, entry: WaitlistEntry, has: Appointment | None, *, at: datetime
) -> tuple[slots.Option | None, str]:
    """The first option for the patient's whole visit that starts in the freed time, or why there is none. `has` is the
    booking they would give up: its cells count as free, and only a sooner day is one."""
    zone = time.site.zone
    soonest = max(time.during.lower, at + settings.WAITLIST_NOTICE)
    first = max(local_date(soonest, zone), entry.earliest or date.min)
    last = min(local_date(time.during.upper - slots.TICK, zone), entry.latest or date.max)
    if last < first:
        return None, "The patient asked for other days."
    if has is not None:
        last = min(last, local_date(has.during.lower, zone) - timedelta(days=1))
        if last < first:
            return None, f"The patient is booked on {short_day(local_date(has.during.lower, zone))}: no sooner day."
    if not _some_weekday(first, last, entry.weekdays):
        return None, "The patient asked for other weekdays."
    found = search.find(
        entry.episode,
        visit=entry.visit,
        earliest=first,
        latest=last,
        at=at,
        limit=LOOKED_AT,
        per_day=None,
        weekdays=entry.weekdays or None,
        ignore=has,
    )
    for option in found.options:
        if soonest <= option.start < time.during.upper:
            return option, ""
    if found.shortage is not None:
        return None, found.shortage.sentence
    return None, "The whole visit does not fit into what became free."


def _some_weekday(first: date, last: date, weekdays: Collection[int]) -> bool:
    days = (first + timedelta(days=n) for n in range(min((last - first).days, 6) + 1))
    return not weekdays or any(day.weekday() in weekdays for day in days)
