"""Step 7: what is due between two days. No date is stored, so the question is turned round: which anchors make
something due then? Those are looked up in an index, and only what hangs on them is computed."""

from datetime import UTC, date, datetime, timedelta

from django.db import connection
from django.db.models import DateField, F, Q
from django.db.models.functions import TruncWeek

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
        .select_related("episode__patient__site", "episode__protocol", "appointment")
        .order_by("due_on", "pk")
    )


def this_week(*, at: datetime) -> FollowUpEventQuerySet:
    """The same from Monday to Sunday of the week that it is at each patient's site."""
    day = at.astimezone(UTC).date()  # some sites have this day, others the one before or after
    first, last = day - ONE_DAY, day + ONE_DAY
    rows = between(first - first.weekday() * ONE_DAY, last + (6 - last.weekday()) * ONE_DAY)
    monday = TruncWeek("today", output_field=DateField())
    return (
        rows.with_today(at).annotate(monday=monday).filter(due_on__gte=F("monday"), due_on__lt=F("monday") + 7 * ONE_DAY)
    )


def _anchored_for(first: date, last: date) -> Q:
    """Events that can be due in these days by their offset and their anchor: every one that is, and a few more."""
    found = Q(pk__in=[])
    for amount, unit in _offsets_in_use():
        if anchors := plan.anchors_due(first, last, plan.Offset(amount, unit)):
            found |= Q(offset=amount, unit=unit, episode__anchor_at__gte=anchors[0], episode__anchor_at__lt=anchors[1])
    return found


def _offsets_in_use() -> list[tuple[int, str]]:
    """The offsets of all that is open: a clinic has as many as its plans have lines, however many patients it has."""
    with connection.cursor() as cursor:
        cursor.execute(OFFSETS_IN_USE)
        return cursor.fetchall()
