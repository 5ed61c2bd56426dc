"""A worrying answer waits until a person has dealt with it."""

import pytest

from clinic.models import StatusChange
from clinic.status import StepRefused
from followup import alerts, events
from followup.models import Alert, FollowUpEvent
from followup.states import AlertStatus


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


@pytest.mark.parametrize("dealt_with", ["acknowledge", "close"])
def test_a_new_worrying_answer_raises_it_again(event, at, dealt_with):
    alert = raised(event, at)
    if dealt_with == "acknowledge":
        alerts.acknowledge(alert, by="nurse", at=at)
    else:
        alerts.close(alert, reason="Called", by="nurse", at=at)

    raised(event, at)
    same = Alert.objects.get().status
    raised(event, at, "Numbness. Yes.")

    assert same != AlertStatus.RAISED
    assert Alert.objects.get().status == AlertStatus.RAISED
