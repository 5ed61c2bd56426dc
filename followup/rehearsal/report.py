"""What a rehearsal found: the numbers, and the rules that must not have been broken, each counted by SQL of its own."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Count, F, Max, Min, Q
from rich.console import Console
from rich.table import Table

from clinic.models import Message, Patient
from clinic.states import MessageStatus
from followup.models import FollowUpEvent, Response
from followup.models.event import EventKind
from followup.models.survey import Mode
from followup.states import EventStatus, ResponseStatus
from scheduling.models import Appointment, Episode, Injection, Referral, Verdict
from scheduling.models.evaluation import Outcome
from scheduling.states import VerdictStatus

# name -> SQL that counts how often the rule is broken; %(now)s is the rehearsal's last moment
INVARIANTS = {
    "overlapping_reservations": """
        SELECT count(*) FROM scheduling_reservation a JOIN scheduling_reservation b
        ON a.resource_id = b.resource_id AND a.id < b.id AND a.during && b.during WHERE a.live AND b.live""",
    "reservations_of_dead_appointments": """
        SELECT count(*) FROM scheduling_reservation r JOIN scheduling_appointmentstep s ON s.id = r.step_id
        JOIN scheduling_appointment a ON a.id = s.appointment_id
        WHERE r.live AND a.status IN ('cancelled', 'noshow')""",
    "appointments_with_a_step_unreserved": """
        SELECT count(*) FROM scheduling_appointmentstep s JOIN scheduling_appointment a ON a.id = s.appointment_id
        WHERE a.status IN ('booked', 'confirmed', 'arrived', 'fulfilled') AND NOT EXISTS (
            SELECT 1 FROM scheduling_reservation r WHERE r.step_id = s.id AND r.live AND r.during = s.during)""",
    "messages_after_cancellation": """
        SELECT count(*) FROM clinic_message m JOIN clinic_statuschange c
        ON c.subject = 'scheduling.Appointment' AND c.subject_id = m.about AND c.became IN ('cancelled', 'noshow')
        WHERE m.status = 'sent' AND m.sent_at > c.at AND m.kind LIKE 'appointment.%%'
        AND m.kind <> 'appointment.cancelled'""",
    "messages_after_death": """
        SELECT count(*) FROM clinic_message m JOIN clinic_statuschange c
        ON c.subject = 'clinic.Patient' AND c.subject_id = m.patient_id::text AND c.became = 'deceased'
        WHERE m.status = 'sent' AND m.sent_at > c.at""",
    "messages_of_unknown_fate": "SELECT count(*) FROM clinic_message WHERE status IN ('sending', 'unknown', 'failed')",
    "units_kept_by_ended_appointments": """
        SELECT count(*) FROM (SELECT unit.appointment_id FROM scheduling_unit unit JOIN scheduling_appointment a
        ON a.id = unit.appointment_id WHERE unit.status IN ('allocated', 'thawed')
        AND a.status IN ('cancelled', 'noshow', 'fulfilled')) AS wrong""",
    "injected_without_follow_up": """
        SELECT count(*) FROM scheduling_episode e WHERE e.injected AND NOT EXISTS (
            SELECT 1 FROM followup_followupevent f WHERE f.episode_id = e.id)""",
}


@dataclass
class Report:
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    answered_by: Counter[tuple[str, str]] = field(default_factory=Counter)

    def read(self, name: str, report: Any) -> None:
        """Keep what an import said about its file."""
        self.rows[name] = {
            "read": report.read,
            "rejected": len(report.rejects),
            "reasons": [f"line {reject.line}: {reject.reason}" for reject in report.rejects],
        }

    def figures(self, *, now: datetime, mails: Counter[str]) -> dict[str, Any]:
        """Every number under its stable key."""
        points = {
            "surveys": time_points(EventKind.SURVEY, now=now),
            "symptom_checks": time_points(EventKind.SYMPTOM_CHECK, now=now),
            "mri": mri_time_points(now=now),
        }
        return {
            "rows": {
                "read": sum(part["read"] for part in self.rows.values()),
                "rejected": sum(part["rejected"] for part in self.rows.values()),
                "files": self.rows,
            },
            "patients": Patient.objects.count(),
            "deceased": Patient.objects.filter(deceased=True).count(),
            "referred": Referral.objects.count(),
            "evaluated": Verdict.objects.filter(status=VerdictStatus.SIGNED).count(),
            "eligible": signed(Outcome.ELIGIBLE),
            "not_eligible": signed(Outcome.NOT_ELIGIBLE) + signed(Outcome.CANNOT_DECIDE),
            "not_eligible_because": dict(why_not().most_common()),
            "booked": Appointment.objects.filter(visit="procedure").exclude(status="held").count(),
            "moved": self.counts["moved"],
            "no_shows": self.counts["no_show"],
            "cancelled_episodes": Episode.objects.filter(status="cancelled").count(),
            "closures": self.counts["closure"],
            "injected": Injection.objects.count(),
            "injected_by_protocol": injected_by_protocol(),
            "episodes": tally(Episode.objects.values_list("status")),
            "messages": tally(Message.objects.filter(status=MessageStatus.SENT).values_list("kind")),
            "messages_not_sent": tally(Message.objects.exclude(status=MessageStatus.SENT).values_list("status")),
            **points,
            "alerts": self.counts["alert"],
            "refusals": dict(self.refusals.most_common(20)),
            "invariants": broken(now=now, mails=mails)
            | {"time_points_that_do_not_add_up": wrong_sums(*points.values())},
        }


def tally(rows: Any) -> dict[str, int]:
    return dict(rows.annotate(n=Count("pk")).order_by("-n").values_list(rows.query.values_select[0], "n"))


def signed(outcome: str) -> int:
    return Verdict.objects.filter(status=VerdictStatus.SIGNED, outcome=outcome).count()


def why_not() -> Counter[str]:
    """Criteria that kept people out: how many verdicts each one failed, or could not be decided in."""
    why: Counter[str] = Counter()
    for reasons in (
        Verdict.objects.filter(status=VerdictStatus.SIGNED)
        .exclude(outcome=Outcome.ELIGIBLE)
        .values_list("reasons", flat=True)
    ):
        why.update(
            f"{line['id']} {line['outcome']}"
            for line in reasons
            if line["severity"] == "hard" and line["outcome"] in ("fail", "cannot_decide")
        )
    return why


def injected_by_protocol() -> dict[str, int]:
    rows = Injection.objects.values_list("episode__protocol__code").annotate(n=Count("pk")).order_by()
    return dict(sorted(rows))


def expected(kind: str, *, now: datetime) -> Any:
    """What was to be done by now: events whose window has opened, as the clinic's calendar counts days, and those
    voided, which had a date until the injection was called off and have none now. What was waived is not expected of
    anybody any more, and is counted beside."""
    events = FollowUpEvent.objects.with_dates().with_today(now).filter(kind=kind)
    return events.exclude(status=EventStatus.WAIVED).filter(Q(opens_on__lte=F("today")) | Q(status=EventStatus.VOIDED))


def waived(kind: str) -> Counter[str]:
    return Counter(FollowUpEvent.objects.filter(kind=kind, status=EventStatus.WAIVED).values_list("code", flat=True))


def time_points(kind: str, *, now: datetime) -> dict[str, dict[str, int]]:
    """Per time point: expected = answered + by_phone + missed + open + voided. Who answered on paper answered without a
    call, and is counted with the pages. A closed survey without an answer would be in no column, and break the sum."""
    rows = expected(kind, now=now)
    answers = Response.objects.filter(status=ResponseStatus.COMPLETED)
    by_phone = set(answers.filter(mode=Mode.PHONE).values_list("event_id", flat=True))
    by_themselves = set(answers.exclude(mode=Mode.PHONE).values_list("event_id", flat=True)) - by_phone
    table = empty_table(rows, "answered", "by_phone", "missed", "open", "voided")
    for pk, code, status in rows.values_list("pk", "code", "status"):
        if status != EventStatus.DONE:
            table[code][status] += 1
        elif pk in by_phone:
            table[code]["by_phone"] += 1
        elif pk in by_themselves:
            table[code]["answered"] += 1
    return with_waived(table, waived(kind))


def mri_time_points(*, now: datetime) -> dict[str, dict[str, int]]:
    """Per time point: expected = done_in_window + done_outside_window + missed + open + voided."""
    rows = expected(EventKind.MRI, now=now).select_related("mri")
    table = empty_table(rows, "done_in_window", "done_outside_window", "missed", "open", "voided")
    for event in rows:
        if event.status != EventStatus.DONE:
            table[event.code][event.status] += 1
        elif event.mri is not None:
            inside = event.opens_on <= event.mri.acquired_on <= event.closes_on
            table[event.code]["done_in_window" if inside else "done_outside_window"] += 1
    return with_waived(table, waived(EventKind.MRI))


def empty_table(rows: Any, *columns: str) -> dict[str, Counter[str]]:
    """A row of zeros for every time point in the order of the plan, its expected number counted by the database."""
    counted = rows.order_by().values_list("code").annotate(n=Count("pk"), first=Min("due_on"), o=Max("offset"))
    ordered = sorted(counted, key=lambda found: (found[2] is None, found[2] or found[3], found[0]))
    return {code: Counter({"expected": n, **dict.fromkeys(columns, 0)}) for code, n, _, _ in ordered}


def with_waived(table: dict[str, Counter[str]], beside: Counter[str]) -> dict[str, dict[str, int]]:
    return {code: {**row, "waived": beside[code]} for code, row in table.items()}


def wrong_sums(*tables: dict[str, dict[str, int]]) -> int:
    """Time points of which the columns do not add up to what was expected."""
    rows = [row for table in tables for row in table.values()]
    return sum(row["expected"] != sum(row.values()) - row["expected"] - row["waived"] for row in rows)


def broken(*, now: datetime, mails: Counter[str]) -> dict[str, int]:
    """How often each rule was broken: every number must be 0."""
    found = {}
    with connection.cursor() as cursor:
        for name, sql in INVARIANTS.items():
            cursor.execute(sql, {"now": now})
            found[name] = cursor.fetchone()[0]
    found["messages_twice"] = sum(1 for times in mails.values() if times > 1)
    sent = {str(pk) for pk in Message.objects.filter(status=MessageStatus.SENT).values_list("pk", flat=True)}
    mailed = {message_id.strip("<>").split("@")[0] for message_id in mails}
    found["messages_marked_sent_but_not_mailed"] = len(sent - mailed)
    found["messages_mailed_but_not_marked"] = len(mailed - sent)
    events = FollowUpEvent.objects.with_dates().with_today(now)
    overdue = events.filter(closes_on__lt=F("today"), status=EventStatus.OPEN, episode__injected=True)
    found["due_events_nobody_closed"] = overdue.exclude(responses__status="in-progress").count()
    return found


def tell(console: Console, figures: dict[str, Any]) -> None:
    """The closing tables."""
    summary = Table(title="What happened", show_header=False)
    for name in ("patients", "deceased", "referred", "evaluated", "eligible", "not_eligible", "booked", "moved"):
        summary.add_row(name.replace("_", " "), str(figures[name]))
    for name in ("no_shows", "cancelled_episodes", "closures", "injected", "alerts"):
        summary.add_row(name.replace("_", " "), str(figures[name]))
    console.print(files(figures["rows"]))
    console.print(summary)
    console.print(two_columns("Why not eligible", figures["not_eligible_because"]))
    console.print(two_columns("Injected per protocol", figures["injected_by_protocol"]))
    console.print(two_columns("Episodes", figures["episodes"]))
    console.print(two_columns("Messages sent", figures["messages"]))
    console.print(points("Surveys", figures["surveys"]))
    console.print(points("Symptom checks", figures["symptom_checks"]))
    console.print(points("MRI", figures["mri"]))
    console.print(two_columns("Rules broken (each must be 0)", figures["invariants"]))


def files(rows: dict[str, Any]) -> Table:
    table = Table("file", "rows read", "rejected", "why", title="What was read")
    for name, part in rows["files"].items():
        table.add_row(name, str(part["read"]), str(part["rejected"]), "\n".join(part["reasons"]) or "-")
    return table


def two_columns(title: str, numbers: dict[str, int]) -> Table:
    table = Table(title=title, show_header=False)
    for name, number in numbers.items():
        table.add_row(name.replace("_", " "), str(number))
    return table


def points(title: str, numbers: dict[str, dict[str, int]]) -> Table:
    columns = list(next(iter(numbers.values()), {}))
    table = Table("time point", *(column.replace("_", " ") for column in columns), title=title)
    for code, row in numbers.items():
        table.add_row(code, *(str(row[column]) for column in columns))
    return table
