"""Step 7: what answers add up to, by the rules of the instrument they were given to. Fills the score of a Response, and
leaves an alert where pain rose since before the injection."""

from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from django.db.models import Q

from followup import alerts, rules
from followup.models import FollowUpEvent, Response
from followup.models.alert import AlertKind
from followup.questionnaires import questions


def columns(response: Response) -> dict[str, Any]:
    """The columns of the score, and what it was scored by. What was skipped has no score; it is never 0."""
    instrument = response.instrument
    rule = rules.read(instrument.rules)
    given = [response.answers.get(question.link_id) for question in questions(instrument.questionnaire)]
    scored = rules.score(rule, given)
    return {
        "raw": scored.raw,
        "answered": scored.answered,
        "score": None if scored.score is None else _stored(scored.score),
        "score_status": scored.status,
        "scored": {
            "rule": rule.scale,
            "rule_version": rule.version,
            "version": instrument.version,
            "recall": instrument.recall,
            "min_answered": rule.min_answered,
            "multiple": rule.multiple,
            "multi": scored.multi,
            "rounding": f"{rule.rounding}, {rule.decimals} decimals",
            "reason": scored.reason,
        },
    }


def exact(response: Response) -> Fraction | None:
    """The score without rounding, for every change and comparison."""
    if response.score is None:
        return None
    return rules.exactly(rules.read(response.instrument.rules), raw=response.raw, answered=response.answered)


def alert_if_pain_rose(event: FollowUpEvent, *, at: datetime) -> None:
    """Compare like with like only: the same instrument, asking about the same time, before the injection and now."""
    if event.before_injection:
        return
    told = Response.objects.filter(completed_at__isnull=False, score__isnull=False, event__episode=event.episode)
    rows = told.filter(Q(event=event) | Q(event__offset__lte=0)).select_related("instrument", "event")
    before, after = {}, {}
    for response in rows.order_by("completed_at", "instrument_code"):
        kept = before if response.event.before_injection else after
        kept[response.instrument_code, response.instrument.recall] = response
    for same in sorted(before.keys() & after.keys()):
        if detail := _risen(before[same], after[same]):
            alerts.raise_alert(event, kind=AlertKind.PAIN_ROSE, detail=detail, at=at)


def _risen(before: Response, after: Response) -> str:
    rule = rules.read(after.instrument.rules)
    was, now = exact(before), exact(after)
    if rule.alarming_rise is None or was is None or now is None or now - was < rule.alarming_rise:
        return ""
    return f"Pain was {rule.display(was)} of {rule.high} before the injection and is {rule.display(now)} now."


def _stored(score: Fraction) -> Decimal:
    return round(Decimal(score.numerator) / Decimal(score.denominator), 6)
