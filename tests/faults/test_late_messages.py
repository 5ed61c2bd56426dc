"""What was due long ago, because nothing ran or its data have only just come, is tried as often as anything else."""

from datetime import timedelta

import pytest

from clinic import messages
from clinic.models import Message
from followup.demo import walk
from scheduling import reminders
from tests.relays import Relay

pytestmark = pytest.mark.django_db


def test_a_message_that_was_due_days_ago_is_not_given_up_after_its_first_failure(patient, at, settings):
    walk.book(walk.open_episode(patient, at=at), at=at)
    reminders.queue_due(at=at)
    Message.objects.update(due_at=at - timedelta(days=4))
    with Relay() as relay:
        settings.EMAIL_BACKEND = "clinic.relay.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", relay.port
        relay.answers["RCPT"] = "450 Later"
        messages.deliver(at=at)
        relay.answers.clear()
        Message.objects.update(lease_until=None)

        messages.deliver(at=at)

    assert set(Message.objects.values_list("status", flat=True)) == {"sent"}
