from datetime import timedelta

import pytest
from django.core import mail
from django.db.models.functions import Now

from clinic import ledger, messages, outbox, tasks
from clinic.models import DeliveryEvent, Message, RelayEntry, RelayLog
from clinic.states import MessageStatus as S

pytestmark = pytest.mark.django_db


@pytest.fixture
def unsure(due, at):
    """A message whose worker died while sending, and whose lease is over."""

    def died(occasion=""):
        due(occasion)
        claimed = outbox.claim("email", at=at).message
        Message.objects.filter(pk=claimed.pk).update(lease_until=Now() - timedelta(minutes=5))
        messages.recover()
        claimed.refresh_from_db()
        return claimed

    return died


@pytest.fixture
def sink(settings, tmp_path):
    """The mail server's own file."""
    file = tmp_path / "mail.ledger"
    file.write_text("2026-05-04T14:00:05+00:00\t<other@pulposus>\tother@example.org\n")
    settings.DELIVERY_LEDGER, settings.SINK_LEDGER = "clinic.ledger.SinkLedger", str(file)
    return file


@pytest.fixture
def postfix(settings):
    settings.DELIVERY_LEDGER = "clinic.ledger.PostfixLog"


def test_what_the_relay_took_was_sent(unsure, sink, at):
    message = unsure()
    with sink.open("a") as lines:
        lines.write(f"{(at + timedelta(seconds=7)).isoformat()}\t{message.message_id}\tp@example.org\n")

    assert messages.reconcile(at=at) == 1
    message.refresh_from_db()
    assert (message.status, message.sent_at, message.reason) == (S.SENT, at + timedelta(seconds=7), messages.ON_RECORD)
    assert messages.deliver(at=at) == {}


def test_what_the_relay_surely_did_not_take_is_due_again_under_the_same_message_id(unsure, sink, at):
    message = unsure()

    assert messages.reconcile(at=at) == 1
    assert messages.deliver(at=at) == {"sent": 1}
    assert mail.outbox[0].message()["Message-ID"] == message.message_id


def test_what_may_still_be_on_its_way_is_not_due_again(unsure, sink, at):
    message = unsure()
    Message.objects.update(lease_until=Now() + timedelta(minutes=1))

    assert messages.reconcile(at=at) == 0
    message.refresh_from_db()
    assert message.status == S.UNKNOWN


def test_where_nobody_keeps_a_record_a_person_decides(unsure, at):
    message = unsure()

    assert messages.reconcile(at=at) == 0
    message.refresh_from_db()
    assert (message.status, message.reason) == (S.UNKNOWN, messages.NOBODY_KNOWS)


def test_a_record_that_cannot_be_read_decides_nothing(unsure, sink, at):
    unsure()
    sink.unlink()

    assert messages.reconcile(at=at) == 0


def test_one_message_that_cannot_be_looked_up_does_not_keep_the_others_waiting(unsure, sink, at, monkeypatch):
    bad, good = unsure("1"), unsure("2")
    lookup = ledger.lookup

    def fails_for_one(message_id, *, since):
        if message_id == bad.message_id:
            raise OSError
        return lookup(message_id, since=since)

    monkeypatch.setattr(ledger, "lookup", fails_for_one)

    assert messages.reconcile(at=at) == 1
    assert Message.objects.get(status=S.DUE) == good


def test_a_person_who_was_quicker_than_the_record_is_right(unsure, sink, at):
    message = unsure()
    (row,) = outbox.unsure(most=1)
    messages.mark_sent(message, by="coordinator", at=at)

    assert not outbox.decide(row, S.DUE, reason="")
    message.refresh_from_db()
    assert message.status == S.SENT


@pytest.mark.usefixtures("no_night")
def test_every_sweep_asks_about_what_nobody_is_sure_of(unsure, sink):
    message = unsure()

    assert tasks.deliver_messages() == {"recovered": 0, "reconciled": 1, "sent": 1}
    message.refresh_from_db()
    assert message.status == S.SENT


def test_an_event_that_a_provider_reported_proves_that_the_mail_was_taken(unsure, at):
    message = unsure()

    assert ledger.note(message.message_id, "delivered", at=at, words="250 OK")
    assert ledger.note(message.message_id, "delivered", at=at, words="250 OK")

    assert DeliveryEvent.objects.count() == 1
    assert messages.reconcile(at=at) == 1
    message.refresh_from_db()
    assert (message.status, message.sent_at) == (S.SENT, at)


def test_a_refusal_says_nothing_of_a_message_that_was_sent_again_since(unsure, at):
    message = unsure()

    ledger.note(message.message_id, "bounced", at=at - timedelta(hours=1), words="550 No such user")

    assert messages.reconcile(at=at) == 0
    message.refresh_from_db()
    assert message.status == S.UNKNOWN


@pytest.mark.parametrize("message_id", ["<somebody@elsewhere>", "", "<00000000-0000-0000-0000-000000000000@pulposus>"])
def test_what_a_provider_reports_of_somebody_elses_mail_is_not_kept(message_id, at, db):
    assert not ledger.note(message_id, "delivered", at=at)
    assert ledger.lookup(message_id, since=at) == ledger.Undecided()


@pytest.mark.parametrize(
    ("read", "verdict"),
    [
        ({}, ledger.Undecided()),
        ({"mail": -60}, ledger.Undecided()),
        ({"mail": 29}, ledger.Undecided()),  # the two clocks may differ
        ({"mail": 31}, ledger.Absent()),
        ({"mail": 31, "mail-2": 0}, ledger.Undecided()),  # it may have gone through the other relay
        ({"mail": 31, "mail-2": 31}, ledger.Absent()),
    ],
)
def test_postfix_did_not_take_it_only_if_every_log_was_read_past_the_end_of_the_lease(due, postfix, at, read, verdict):
    for name, seconds in read.items():
        until = at + timedelta(seconds=seconds)
        RelayLog.objects.create(name=name, complete_from=at - timedelta(hours=1), complete_until=until)

    assert ledger.lookup(due().message_id, since=at) == verdict


def test_postfix_took_what_was_in_its_queue_and_not_what_it_only_began_to_read(due, postfix, at):
    taken, begun = due("1").message_id, due("2").message_id
    RelayEntry.objects.create(queue_id="4XkB1", message_id=taken, seen_at=at, queued_at=at)
    RelayEntry.objects.create(queue_id="4XkB2", message_id=begun, seen_at=at)

    assert ledger.lookup(taken, since=at) == ledger.Found(at)
    assert ledger.lookup(begun, since=at) == ledger.Undecided()
