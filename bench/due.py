"""What is due this week for a site, where no date is stored: the bounded question beside the plain one that computes
every date, beside everything loaded and computed in Python, beside a stored and indexed date; to 100,000 episodes."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.core.management import call_command
from django.db import connection
from django.utils.timezone import now

from bench._timing import milliseconds
from clinic.models import Site
from followup import due, events, instruments, plan
from followup.demo import walk
from followup.models import FollowUpEvent
from followup.states import EventStatus
from scheduling import protocols
from scheduling.models import Episode

ZONE = "America/Chicago"
OF_THE_SITE, EVERYWHERE = 1_000, (1_000, 10_000, 100_000)
WARM_UP = 12  # until the connection keeps the plans of what it asks
YEARS = 3  # the plans end after two: a third of the patients have nothing open any more

# Copies of one treatment that walked the real steps: table, and what is its own in each copy. n is the copy's number.
COPIES = {
    "clinic_patient": "'mrn', 'COPY-' || n",
    "scheduling_referral": "'patient_id', md5('clinic_patient' || n)",
    "scheduling_evaluation": "'referral_id', md5('scheduling_referral' || n)",
    "scheduling_verdict": "'evaluation_id', md5('scheduling_evaluation' || n)",
    "scheduling_episode": "'patient_id', md5('clinic_patient' || n), 'verdict_id', md5('scheduling_verdict' || n), "
    "'injected', true, 'status', 'active', 'anchor_at', now() - (n * 7919 %% {minutes}) * interval '1 minute'",
}
COPY = """
    INSERT INTO {table} SELECT copied.* FROM {table} AS model, generate_series({first}, {last}) AS n,
        jsonb_populate_record(model, jsonb_build_object('id', md5('{table}' || n), {own})) AS copied
    WHERE model.id = %s"""
PLANS = """
    INSERT INTO followup_followupevent (id, episode_id, code, name, kind, "offset", unit, optimal_before, optimal_after,
        permitted_before, permitted_after, instruments, status, closed_at, recorded_due_on, recorded_opens_on,
        recorded_closes_on)
    SELECT gen_random_uuid(), episode_id, code, name, kind, "offset", unit, optimal_before, optimal_after,
        permitted_before, permitted_after, instruments, CASE WHEN past THEN 'done' ELSE 'open' END,
        CASE WHEN past THEN now() END, CASE WHEN past THEN due_on END,
        CASE WHEN past THEN due_on - permitted_before END, CASE WHEN past THEN due_on + permitted_after END
    FROM (SELECT *, due_on + permitted_after < current_date AS past
        FROM (SELECT s.*, e.id AS episode_id,
                (timezone(site.time_zone, e.anchor_at)::date + (s."offset" || ' ' || s.unit)::interval)::date AS due_on
            FROM scheduling_episode e JOIN followup_followupstep s ON s.protocol_id = e.protocol_id
            JOIN clinic_patient p ON p.id = e.patient_id JOIN clinic_site site ON site.id = p.site_id
            WHERE e.injected AND NOT EXISTS (SELECT FROM followup_followupevent f WHERE f.episode_id = e.id)
        ) AS dated) AS planned"""
STORE = (
    "DROP TABLE IF EXISTS stored_dates",
    """CREATE TABLE stored_dates AS
        SELECT f.id, p.site_id,
            (timezone(s.time_zone, e.anchor_at)::date + (f."offset" || ' ' || f.unit)::interval)::date AS due_on
        FROM followup_followupevent f JOIN scheduling_episode e ON e.id = f.episode_id
        JOIN clinic_patient p ON p.id = e.patient_id JOIN clinic_site s ON s.id = p.site_id
        WHERE f.status = 'open'""",
    "CREATE INDEX ON stored_dates (site_id, due_on)",
)


def run() -> dict[str, Any]:
    call_command("migrate", verbosity=0)
    at = now()
    protocols.load_all(at=at)
    instruments.load_all(at=at)
    sites = [
        Site.objects.create(code=f"bench-{name}", name=name, time_zone=ZONE, phone="+1 312 555 0142")
        for name in ("ours", "others")
    ]
    models = [walk.open_episode(walk.register(site, at=at, mrn=f"MRN-{site.code}"), at=at) for site in sites]
    people(models[0], 1, OF_THE_SITE)
    figures: dict[str, Any] = {"episodes": OF_THE_SITE} | of_a_site(sites[0], at)
    here = OF_THE_SITE
    for many in EVERYWHERE:
        people(models[1], here + 1, many)
        here = many
        figures |= {f"growth_{many}_{name}": value for name, value in growth(sites, at).items()}
    return figures


def people(model: Episode, first: int, last: int) -> None:
    """Treatments number `first` to `last`, injected some time in the last years; what lies behind them is done."""
    verdict = model.verdict
    models = (model.patient, verdict.evaluation.referral, verdict.evaluation, verdict, model)
    with connection.cursor() as cursor:
        for (table, own), row in zip(COPIES.items(), models, strict=True):
            changed = own.format(minutes=YEARS * 365 * 24 * 60)
            cursor.execute(COPY.format(table=table, own=changed, first=first, last=last), [row.pk])
        for statement in (PLANS, *STORE, "VACUUM ANALYZE"):
            cursor.execute(statement)


def of_a_site(site: Site, at: datetime) -> dict[str, Any]:
    """One site alone: all four ways, and all four find the same."""
    bounded, plain, loaded, stored = (way(site, at) for way in (ours, unbounded, in_python, by_stored_date))
    found = {row.pk for row in bounded()}
    assert found == {row.pk for row in plain()} == set(loaded()) == set(stored()), "all must find the same events"
    return {
        "events": FollowUpEvent.objects.count(),
        "open_events": FollowUpEvent.objects.filter(status=EventStatus.OPEN).count(),
        "due": len(found),
        "bounded_ms": usually(bounded),
        "every_date_computed_ms": usually(plain),
        "loaded_into_python_ms": milliseconds(loaded, times=3),
        "stored_date_ms": usually(stored),
        "queries": queries(bounded),
    }


def growth(sites: list[Site], at: datetime) -> dict[str, Any]:
    """The same site among more and more of others, and the others' own list, which grows with them."""
    bounded, plain = ours(sites[0], at), unbounded(sites[0], at)
    figures = {
        "open_events": FollowUpEvent.objects.filter(status=EventStatus.OPEN).count(),
        "site_of_1000_ms": usually(bounded),
        "site_of_1000_every_date_computed_ms": usually(plain),
        "site_of_1000_pages_mb": pages(of_site(sites[0], at)),
        "indexes_mb": size_of("episodes_by_anchor", "open_events_by_offset"),
    }
    if others := ours(sites[1], at)():
        figures |= {
            "all_due": len(others),
            "all_ms": milliseconds(ours(sites[1], at), times=3),
            "first_50_ms": milliseconds(lambda: list(of_site(sites[1], at)[:50]), times=3),
            "all_every_date_computed_ms": milliseconds(unbounded(sites[1], at), times=3),
            "all_pages_mb": pages(of_site(sites[1], at)),
        }
    return figures


def usually(ask: Callable[[], Any]) -> float:
    """As a web process answers that has answered before."""
    for _ in range(WARM_UP):
        ask()
    return milliseconds(ask, times=15)


def of_site(site: Site, at: datetime) -> Any:
    return due.this_week([site], at=at)


def ours(site: Site, at: datetime) -> Callable[[], list[Any]]:
    return lambda: list(of_site(site, at))


def week(at: datetime) -> tuple[Any, Any]:
    today = at.astimezone(Site(time_zone=ZONE).zone).date()
    monday = today - timedelta(days=today.weekday())
    return monday, monday + timedelta(days=6)


def unbounded(site: Site, at: datetime) -> Callable[[], list[Any]]:
    """The question without the index: the database computes every open date."""
    rows = FollowUpEvent.objects.with_dates().filter(
        events.EXPECTED, status=EventStatus.OPEN, due_on__range=week(at), episode__patient__site=site
    )
    related = rows.select_related("episode__patient__site")
    return lambda: list(related.order_by("due_on", "pk"))


def in_python(site: Site, at: datetime) -> Callable[[], list[Any]]:
    """Everything that is open, loaded and computed."""
    first, last = week(at)
    rows = FollowUpEvent.objects.filter(events.EXPECTED, status=EventStatus.OPEN, episode__patient__site=site)
    rows = rows.select_related("episode__patient__site")
    none = plan.Window(0, 0)

    def due_on(event: FollowUpEvent) -> Any:
        return plan.windows(event.episode.anchor_at, ZONE, plan.Offset(event.offset, event.unit), none, none).due_on

    return lambda: [event.pk for event in rows.all() if first <= due_on(event) <= last]


def by_stored_date(site: Site, at: datetime) -> Callable[[], list[Any]]:
    """What others do: the date stored in every row. It is the fastest to read, and wrong as soon as an anchor moves."""

    def found() -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM stored_dates WHERE site_id = %s AND due_on BETWEEN %s AND %s", [site.pk, *week(at)]
            )
            keys = [row[0] for row in cursor.fetchall()]
        rows = FollowUpEvent.objects.select_related("episode__patient__site").filter(pk__in=keys)
        return [row.pk for row in rows]

    return found


def queries(ask: Callable[[], Any]) -> int:
    asked = []

    def counted(execute: Callable[..., Any], *given: Any) -> Any:
        asked.append(given[0])
        return execute(*given)

    with connection.execute_wrapper(counted):
        ask()
    return len(asked)


def pages(rows: Any) -> float:
    """How much of the tables and indexes the database looks at, in MB."""
    plan_of = rows.explain(analyze=True, buffers=True, format="json")
    top = json.loads(plan_of)[0]["Plan"]
    return (top["Shared Hit Blocks"] + top["Shared Read Blocks"]) * 8192 / 1e6


def size_of(*indexes: str) -> float:
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(pg_relation_size(name::regclass)) FROM unnest(%s::text[]) AS name", [list(indexes)])
        return float(cursor.fetchone()[0]) / 1e6
