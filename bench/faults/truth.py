"""What the clinic's own data say was due, told by SQL of our own from patients, visits, treatments and plans: never
from the table of messages, and not by the code that is being judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection

OPEN_STAGE = 14  # days in which the start of a stage without an end is still news

# Everything is asked for at nine on the clinic's clock, except what an injection later on that day begins.
DUE = """
WITH treatment AS (
    SELECT e.*, p.email, z.time_zone AS zone, timezone(z.time_zone, e.anchor_at)::date AS day
      FROM scheduling_episode e JOIN clinic_patient p ON p.id = e.patient_id JOIN clinic_site z ON z.id = p.site_id
     WHERE p.email = ANY(%(emails)s)
), visit AS (
    SELECT a.*, lower(a.during) AS starts, timezone(t.zone, lower(a.during))::date AS day, t.email, t.zone
      FROM scheduling_appointment a JOIN treatment t ON t.id = a.episode_id
     WHERE a.status IN ('booked', 'confirmed')
), asked AS (
    SELECT t.email, t.zone, s.kind, s.permitted_after,
           (t.day + (s."offset" || ' ' || s.unit)::interval)::date AS due_on,
           CASE s.kind WHEN 'mri' THEN s.permitted_before ELSE s.optimal_before END AS before
      FROM treatment t JOIN followup_followupstep s ON s.protocol_id = t.protocol_id
     WHERE (t.injected AND t.status = 'active' AND s."offset" > 0
            OR NOT t.injected AND t.status = 'planned' AND s."offset" <= 0)
       AND NOT EXISTS (SELECT FROM followup_followupevent f
                        WHERE f.episode_id = t.id AND f.code = s.code AND f.status <> 'open')
), counted AS (
    SELECT * FROM (VALUES ('appointment.preparation', 10, NULL), ('appointment.reminder', 7, 3),
                          ('appointment.reminder', 3, 1), ('appointment.reminder', 1, NULL)) AS rule(kind, days, next)
     WHERE kind = ANY(%(kinds)s)
)
SELECT email, 'appointment.booked' AS kind, changed_at AS due_at, starts AS until FROM visit
UNION ALL
SELECT email, kind, due_at, until
  FROM visit, LATERAL (
       SELECT kind, timezone(zone, day - days + time '09:00') AS due_at,
              CASE WHEN next IS NULL THEN starts ELSE timezone(zone, day - next + time '09:00') END AS until
         FROM counted) AS reminder
 WHERE changed_at < due_at
UNION ALL
SELECT email, CASE kind WHEN 'mri' THEN 'mri.due' WHEN 'symptom_check' THEN 'survey.invitation.short'
                  ELSE 'survey.invitation' END,
       timezone(zone, due_on - before + time '09:00'), timezone(zone, due_on + permitted_after + 1 + time '00:00')
  FROM asked
UNION ALL
SELECT t.email, 'recovery.stage',
       greatest(t.anchor_at, timezone(t.zone, t.day + r.first_day + time '09:00')),
       timezone(t.zone, t.day + coalesce(r.last_day, r.first_day + %(open_stage)s) + time '00:00') + interval '1 day'
  FROM treatment t JOIN followup_restrictionstage r ON r.protocol_id = t.protocol_id AND r.tell_patient
 WHERE t.injected AND t.status = 'active'
"""


@dataclass(frozen=True)
class Duty:
    """Something one patient must hear once, from `due_at` on. `known_at`: by then the data that say so were there."""

    to: str
    kind: str
    due_at: datetime
    known_at: datetime

    @property
    def key(self) -> tuple[str, str]:
        return self.to, self.kind

    @property
    def since(self) -> datetime:
        return max(self.due_at, self.known_at)


def duties(emails: Sequence[str], *, known_at: datetime) -> list[Duty]:
    """What these patients must hear by tomorrow, as things stand; what was over before it was known is not due."""
    terms = {"emails": list(emails), "open_stage": OPEN_STAGE, "kinds": list(settings.MESSAGE_KINDS)}
    with connection.cursor() as cursor:
        cursor.execute(DUE, terms)
        rows = cursor.fetchall()
    soon = known_at + timedelta(days=2)
    return [Duty(to, kind, due_at, known_at) for to, kind, due_at, until in rows if known_at < until and due_at < soon]
