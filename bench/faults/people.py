"""A clinic in the middle of its day, and as many patients as a run needs: copies of one treatment that walked the real
steps. Nothing is queued here: what each of them should hear is for the service to find out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.core.management import call_command
from django.db import connection, transaction

from clinic.models import Site
from followup import demo, instruments
from followup.demo import walk
from scheduling import protocols
from scheduling.models import Appointment

NAME = "Quillfeather"  # the family name of every patient: it must turn up in no log
AHEAD, LATER, FRESH, WEEK, MONTH, HALF_YEAR = "ahead", "later", "fresh", "week", "month", "half-year"
DAYS_AHEAD = {AHEAD: 2, LATER: 8}  # a visit in two days; one whose first reminder is for tomorrow
DAYS_SINCE = {FRESH: 0, WEEK: 8, MONTH: 28, HALF_YEAR: 173}  # since the injection
FORMS = (AHEAD, MONTH, FRESH, WEEK, AHEAD, FRESH, HALF_YEAR, AHEAD, FRESH, LATER)  # as they come, over and over

# Table, and what is its own in each copy: n is the copy's number, moment the start of the visit or the injection.
EVERYBODY = {
    "clinic_patient": "'mrn', 'RUN-' || n, 'email', 'quillfeather-' || n || '@example.org'",
    "scheduling_referral": "'patient_id', md5('clinic_patient' || n)",
    "scheduling_evaluation": "'referral_id', md5('scheduling_referral' || n)",
    "scheduling_verdict": "'evaluation_id', md5('scheduling_evaluation' || n)",
}
EPISODE = "'patient_id', md5('clinic_patient' || n), 'verdict_id', md5('scheduling_verdict' || n), 'anchor_at', moment"
TO_COME = EVERYBODY | {
    "scheduling_episode": EPISODE,
    "scheduling_appointment": "'episode_id', md5('scheduling_episode' || n), 'changed_at', now() - interval '20 days', "
    "'during', tstzrange(moment, moment + interval '3 hours')",
}
TREATED = EVERYBODY | {"scheduling_episode": f"{EPISODE}, 'injected', true, 'status', 'active'"}
COPY = """
    INSERT INTO {table} SELECT copied.* FROM {table} AS model, unnest(%s::int[], %s::timestamptz[]) AS one(n, moment),
        jsonb_populate_record(model, jsonb_build_object('id', md5('{table}' || n), {own})) AS copied
    WHERE model.id = %s ON CONFLICT DO NOTHING"""

# What lies behind them is done, and who was asked a week ago has answered: nobody is asked for that again.
PLANS = """
    INSERT INTO followup_followupevent (id, episode_id, code, name, kind, "offset", unit, optimal_before, optimal_after,
        permitted_before, permitted_after, instruments, status, closed_at, recorded_due_on, recorded_opens_on,
        recorded_closes_on)
    SELECT gen_random_uuid(), episode_id, code, name, kind, "offset", unit, optimal_before, optimal_after,
        permitted_before, permitted_after, instruments, CASE WHEN past THEN 'done' ELSE 'open' END,
        CASE WHEN past THEN now() END, CASE WHEN past THEN due_on END,
        CASE WHEN past THEN due_on - permitted_before END, CASE WHEN past THEN due_on + permitted_after END
    FROM (SELECT *, injected AND "offset" <= 0 OR due_on + permitted_after < today
                    OR kind = 'survey' AND due_on - optimal_before < today - 6 AS past
        FROM (SELECT s.*, e.id AS episode_id, e.injected, timezone(z.time_zone, now())::date AS today,
                (timezone(z.time_zone, e.anchor_at)::date + (s."offset" || ' ' || s.unit)::interval)::date AS due_on
            FROM scheduling_episode e JOIN followup_followupstep s ON s.protocol_id = e.protocol_id
            JOIN clinic_patient p ON p.id = e.patient_id JOIN clinic_site z ON z.id = p.site_id
            WHERE NOT EXISTS (SELECT FROM followup_followupevent f WHERE f.episode_id = e.id)
        ) AS dated) AS planned"""


@dataclass(frozen=True)
class Clinic:
    site: Site
    visit: Appointment  # the one that the visits to come are copies of


def address(number: int) -> str:
    return f"quillfeather-{number}@example.org"


def zone_at_its_noon(at: datetime) -> str:
    """A place where it is about 13:00: no quiet hour, no midnight and no change of the clocks comes near."""
    ahead = 13 - at.astimezone(UTC).hour
    return f"Etc/GMT{-ahead:+d}" if ahead else "Etc/GMT"


def found(at: datetime) -> Clinic:
    """In an empty database: the tables, the site, and one patient who was booked through every real step."""
    call_command("migrate", verbosity=0)
    protocols.load_all(at=at)
    instruments.load_all(at=at)
    site = demo.found_clinic(code="faults", name="Harbour Spine Clinic", zone=zone_at_its_noon(at))
    demo.complete_products()
    patient = walk.register(site, at=at, mrn="RUN-0", family_name=NAME, given_name="Ottilie", email=address(0))
    visit = walk.book(walk.open_episode(patient, at=at), at=at)
    with connection.cursor() as cursor:
        cursor.execute(PLANS)
    return Clinic(site, visit)


def come(clinic: Clinic, form: str, numbers: Sequence[int], moments: Sequence[datetime]) -> None:
    """Patients of one form, in one commit. Asked twice after a broken line, it adds nobody twice."""
    visit, episode = clinic.visit, clinic.visit.episode
    verdict = episode.verdict
    rows = {
        "clinic_patient": episode.patient_id,
        "scheduling_referral": verdict.evaluation.referral_id,
        "scheduling_evaluation": verdict.evaluation_id,
        "scheduling_verdict": verdict.pk,
        "scheduling_episode": episode.pk,
        "scheduling_appointment": visit.pk,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        for table, own in (TO_COME if form in DAYS_AHEAD else TREATED).items():
            cursor.execute(COPY.format(table=table, own=own), [list(numbers), list(moments), rows[table]])
        cursor.execute(PLANS)


def moment_of(form: str, *, zone_now: datetime) -> datetime:
    """When the visit begins, or when the injection was, on the clinic's clock."""
    noon = zone_now.replace(hour=12, minute=0, second=0, microsecond=0)
    if form in DAYS_AHEAD:
        return noon + timedelta(days=DAYS_AHEAD[form], hours=2)
    return noon - timedelta(days=DAYS_SINCE[form])
