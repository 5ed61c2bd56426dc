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
    """Against the same question before the injection; where that was not asked, against the pain of another time on the
    same scale. An alarm is no measurement: rather one call too many, and the sentence says which times it speaks of."""
    if event.before_injection:
        return
    told = Response.objects.filter(completed_at__isnull=False, score__isnull=False, event__episode=event.episode)
    rows = told.filter(Q(event=event) | Q(event__offset__lte=0)).select_related("instrument", "event")
    found = list(rows.order_by("completed_at", "instrument_code"))
    before = [response for response in found if response.event.before_injection]
    for now in (response for response in found if not response.event.before_injection):
        same = [one for one in before if _asked(one) == _asked(now)]
        nearest = same or [one for one in before if _scale(one) == _scale(now)]
        if nearest and (detail := _risen(nearest[-1], now)):
            alerts.raise_alert(event, kind=AlertKind.PAIN_ROSE, detail=detail, at=at)


def _asked(response: Response) -> tuple[str, str]:
    return response.instrument_code, response.instrument.recall


def _scale(response: Response) -> tuple[str, int]:
    rule = rules.read(response.instrument.rules)
    return rule.scale, rule.high


def _risen(before: Response, after: Response) -> str:
    rule = rules.read(after.instrument.rules)
    was, now = exact(before), exact(after)
    if rule.alarming_rise is None or was is None or now is None or now - was < rule.alarming_rise:
        return ""
    then, since = (
        ("", "") if _asked(before) == _asked(after) else (f" ({one.instrument.recall})" for one in (before, after))
    )
    return (
        f"Pain was {rule.display(was)} of {rule.high} before the injection{then} and is {rule.display(now)} now{since}."
    )


def _stored(score: Fraction) -> Decimal:
    return round(Decimal(score.numerator) / Decimal(score.denominator), 6)
