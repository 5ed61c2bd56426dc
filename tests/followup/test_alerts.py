"""A worrying answer waits until a person has dealt with it."""

from datetime import timedelta

import pytest

from clinic.models import StatusChange
from clinic.status import StepRefused
from followup import alerts, events
from followup.models import Alert, FollowUpEvent
from followup.states import AlertStatus

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@pytest.fixture
def event(injected):
    events.open_due(at=injected.anchor_at)
    return FollowUpEvent.objects.get(episode=injected, code="day-3")


def raised(event, at, detail="Fever. Yes."):
    return alerts.raise_alert(event, kind="red_flag", detail=detail, at=at)


def test_one_event_raises_one_alert_of_a_kind(event, at):
    raised(event, at)
    raised(event, at)
    raised(event, at, "Numbness. Yes.")

    assert Alert.objects.get().detail == "Fever. Yes.\nNumbness. Yes."


def test_an_alert_is_seen_and_then_closed_with_what_was_done(event, at):
    alert = alerts.acknowledge(raised(event, at), by="nurse", at=at)
    alert = alerts.close(alert, reason="Called her: no fever since noon", by="nurse", at=at)

    trail = StatusChange.objects.filter(subject="followup.Alert").order_by("pk").values_list("became", "by", "reason")
    assert alert.status == AlertStatus.CLOSED
    assert list(trail) == [
        ("raised", "system", ""),
        ("acknowledged", "nurse", ""),
        ("closed", "nurse", "Called her: no fever since noon"),
    ]


def test_an_alert_is_not_closed_without_a_word(event, at):
    with pytest.raises(StepRefused, match="Say what was done"):
        alerts.close(raised(event, at), reason=" ", by="nurse", at=at)


def test_what_nobody_has_acknowledged_is_not_closed(event, at):
    with pytest.raises(StepRefused, match="Nobody has acknowledged this yet"):
        alerts.close(raised(event, at), reason="Called", by="nurse", at=at)


def test_an_alert_says_who_looks_after_it_and_since_when(event, at):
    alert = alerts.acknowledge(raised(event, at), by="nurse", at=at)

    assert (alert.acknowledged_by, alert.acknowledged_at) == ("nurse", at)
    with pytest.raises(StepRefused):
        alerts.acknowledge(alert, by="somebody else", at=at)


def test_only_somebody_with_a_name_acknowledges(event, at):
    with pytest.raises(StepRefused, match="by a person"):
        alerts.acknowledge(raised(event, at), by="", at=at)


@pytest.mark.parametrize("closed", [False, True])
def test_a_new_worrying_answer_is_a_new_alert_and_an_old_one_is_not_raised_twice(event, at, closed):
    alert = alerts.acknowledge(raised(event, at), by="nurse", at=at)
    if closed:
        alerts.close(alert, reason="Called", by="nurse", at=at)

    raised(event, at)
    same = Alert.objects.count()
    raised(event, at + DAY, "Numbness. Yes.")
    raised(event, at + DAY, "Numbness. Yes.")

    assert same == 1
    told = Alert.objects.order_by("pk").values_list("detail", "status", "acknowledged_by")
    first = AlertStatus.CLOSED if closed else AlertStatus.ACKNOWLEDGED
    assert list(told) == [("Fever. Yes.", first, "nurse"), ("Numbness. Yes.", AlertStatus.RAISED, "")]


@pytest.mark.parametrize(
    ("hours", "age", "overdue"),
    [
        (0, "less than a minute", False),
        (0.5, "30 minutes", False),
        (1, "1 hour", False),
        (14.9, "14 hours", False),  # raised at 09:00 in Chicago: until midnight
        (15, "15 hours", True),
        (49, "2 days", True),
    ],
)
def test_an_alert_is_the_work_of_the_day_on_which_it_was_raised(event, at, hours, age, overdue):
    alert = raised(event, at)
    later = at + timedelta(hours=hours)

    assert (alerts.age(alert, at=later), alerts.overdue(alert, at=later)) == (age, overdue)
    seen = alerts.acknowledge(alert, by="nurse", at=later)
    assert alerts.overdue(seen, at=later + DAY) is False


def test_what_nobody_has_seen_stands_first_and_the_oldest_of_it_on_top(injected, at):
    events.open_due(at=injected.anchor_at)
    three = [FollowUpEvent.objects.get(episode=injected, code=code) for code in ("day-1", "day-3", "day-7")]
    seen, older, newer = (raised(event, at + hours * HOUR) for event, hours in zip(three, (0, 1, 2), strict=True))
    alerts.acknowledge(seen, by="nurse", at=at)

    assert list(alerts.waiting()) == [older, newer, seen]
