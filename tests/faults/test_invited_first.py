"""A reminder of a survey may only follow its invitation."""

from datetime import timedelta

import pytest

from clinic.models import Message
from clinic.states import MessageStatus as S
from followup import events, reminders
from followup.demo import walk

pytestmark = pytest.mark.django_db


def test_nobody_is_reminded_of_a_survey_while_its_late_invitation_is_on_its_way(patient, at):
    walk.book(walk.open_episode(patient, at=at - timedelta(days=20)), at=at, days_ahead=2)
    events.open_due(at=at)
    reminders.queue_due(at=at)  # the survey before the injection could have been asked for days ago
    Message.objects.filter(kind="survey.invitation").update(status=S.SENDING, attempts=1)

    reminders.queue_due(at=at)

    assert set(Message.objects.values_list("kind", flat=True)) == {"survey.invitation"}
