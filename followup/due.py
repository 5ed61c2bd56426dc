"""Step 7: what is due between two days. No date is stored, so the question is turned round: which anchors make
something due then? Those are looked up in an index, and only what hangs on them is computed."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import DateField, F, Q
from django.db.models.functions import TruncWeek

from clinic.clock import local_date
from clinic.models import Site
from followup import events, plan
from followup.models import FollowUpEvent
from followup.models.event import FollowUpEventQuerySet
from followup.states import EventStatus

ONE_DAY = timedelta(days=1)
# Each pair by one step through the index `open_events_by_offset`: a SELECT DISTINCT would read every open event.
OFFSETS_IN_USE = """
    WITH RECURSIVE used AS (
        (SELECT unit, "offset" FROM followup_followupevent WHERE status = 'open' ORDER BY unit, "offset" LIMIT 1)
        UNION ALL
        SELECT following.unit, following."offset" FROM used, LATERAL (
            SELECT unit, "offset" FROM followup_followupevent
            WHERE status = 'open' AND (unit, "offset") > (used.unit, used."offset")
            ORDER BY unit, "offset" LIMIT 1
        ) AS following
    )
    SELECT "offset", unit FROM used"""


def between(first: date, last: date) -> FollowUpEventQuerySet:
    """What is open and due from `first` to `last`, with its dates, the first on top: of patients in care, on the
    calendar of each one's own site."""
    return (
        FollowUpEvent.objects.with_dates()
        .filter(events.EXPECTED, _anchored_for(first, last), status=EventStatus.OPEN, due_on__range=(first, last))
        .select_related("episode__patient__site")
        .order_by("due_on", "pk")
    )


def this_week(sites: Iterable[Site], *, at: datetime) -> FollowUpEventQuerySet:
    """The same at these sites, from Monday to Sunday of the week that it is at each of them."""
    places = list(sites)
    mondays = [today - today.weekday() * ONE_DAY for today in (local_date(at, site.zone) for site in places)]
    if not mondays:
        return FollowUpEvent.objects.none()
    rows = between(min(mondays), max(mondays) + 6 * ONE_DAY).filter(episode__patient__site__in=places)
    if min(mondays) == max(mondays):  # else it is Sunday at some of them and Monday at others
        return rows
    monday = TruncWeek("today", output_field=DateField())
    weekly = rows.with_today(at).annotate(monday=monday)
    return weekly.filter(due_on__gte=F("monday"), due_on__lt=F("monday") + 7 * ONE_DAY)


def _anchored_for(first: date, last: date) -> Q:
    """Episodes whose anchor can make something due in these days, and a few more: their dates are then computed."""
    offsets = (plan.Offset(amount, unit) for amount, unit in _offsets_in_use())
    spans = [span for offset in offsets if (span := plan.anchors_due(first, last, offset))]
    found = Q(pk__in=[])
    for begins, ends in plan.merged(spans):
        found |= Q(episode__anchor_at__gte=begins, episode__anchor_at__lt=ends)
    return found


def _offsets_in_use() -> list[tuple[int, Any]]:
    """The offsets of all that is open: a clinic has as many as its plans have lines, however many patients it has."""
    with connection.cursor() as cursor:
        cursor.execute(OFFSETS_IN_USE)
        return cursor.fetchall()
