from datetime import timedelta

import pytest
from django.core import mail

from clinic import heartbeats, tasks
from clinic.management.commands.stand_in import Command
from clinic.models import Heartbeat

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_night")]


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr("clinic.management.commands.stand_in.close_old_connections", lambda: None)  # a test's is one
    return Command()


def silent_for(settings, *, sweeps):
    at = tasks.database_now() - sweeps * settings.SWEEP_EVERY
    heartbeats.beat(heartbeats.DISPATCHER, at=at)


def test_the_stand_in_leaves_the_sweeps_to_the_workers_while_there_are_any(stand_in, due, settings):
    due()
    silent_for(settings, sweeps=2)

    assert not stand_in.look()
    assert mail.outbox == []


def test_the_stand_in_sweeps_when_no_worker_has_for_a_while(stand_in, due, settings):
    due()
    silent_for(settings, sweeps=4)

    assert stand_in.look()
    assert len(mail.outbox) == 1
    assert {beat.name for beat in Heartbeat.objects.all()} == {
        "scheduling.sweep",
        "followup.sweep",
        "clinic.deliver_messages",
    }


def test_the_stand_in_sweeps_where_nobody_ever_has(stand_in, due):
    due()

    assert stand_in.look()
    assert len(mail.outbox) == 1


def test_the_stand_in_goes_on_at_the_workers_pace_until_one_is_heard(stand_in, db, settings):
    assert [stand_in.look(), stand_in.look()] == [True, False]

    settings.SWEEP_EVERY = timedelta(0)
    assert stand_in.look()

    settings.SWEEP_EVERY = timedelta(seconds=15)
    heartbeats.beat(heartbeats.DISPATCHER, at=tasks.database_now())
    assert not stand_in.look()


def test_a_sweep_that_fails_does_not_keep_the_others_from_running(stand_in, due, monkeypatch, caplog):
    due()

    def fails(*_, **__):
        raise ValueError("Reyes")

    monkeypatch.setattr("scheduling.tasks.run_parts", fails)

    assert stand_in.look()
    assert len(mail.outbox) == 1
    assert "scheduling.sweep failed: ValueError" in caplog.text
    assert "Reyes" not in caplog.text
