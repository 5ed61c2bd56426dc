from datetime import timedelta
from threading import Barrier, Thread

import pytest
from django.core import mail
from django.db import connection, transaction
from django.db.models.functions import Now

from clinic import messages
from clinic.models import Message, StatusChange
from clinic.states import MESSAGE_MOVES
from clinic.states import MessageStatus as S
from clinic.status import StepRefused
from followup.demo import walk
from tests.relays import Relay

pytestmark = pytest.mark.django_db


class Plain(messages.Kind):
    """Wanted unless its occasion says otherwise; unreadable if its occasion says so."""

    def still_wanted(self, message, *, at):
        return "The appointment was cancelled." if message.occasion.startswith("cancelled") else ""

    def render(self, message, *, at):
        if message.occasion == "unreadable":
            raise ValueError(f"secret of {message.patient.family_name}")
        return messages.Rendered("Your appointment", "Please call us.", "<p>Please call us.</p>")


@pytest.fixture(autouse=True)
def plain(settings):
    settings.MESSAGE_KINDS = {"test.plain": "tests.clinic.test_messages.Plain"}


@pytest.fixture
def due(patient, at):
    def queued(occasion="", **given):
        message = Message(
            site=patient.site,
            patient=given.pop("patient", patient),
            kind="test.plain",
            about="1",
            occasion=occasion,
            due_at=given.pop("due_at", at),
            **given,
        )
        messages.queue([message])
        return Message.objects.get(kind="test.plain", occasion=occasion)

    return queued


@pytest.fixture
def relay(settings):
    """A real mail server whose answers the test chooses."""
    with Relay() as relay:
        settings.EMAIL_BACKEND = "clinic.relay.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", relay.port
        yield relay


def test_a_message_that_is_due_is_sent_once(due, patient, at):
    message = due()

    first, second = messages.deliver(at=at), messages.deliver(at=at)

    assert (first, second) == ({"sent": 1}, {})
    (email,) = mail.outbox
    assert (email.subject, email.to, email.reply_to) == ("Your appointment", [patient.email], [patient.site.reply_to])
    assert email.message()["Message-ID"] == message.message_id
    message.refresh_from_db()
    assert (message.status, message.sent_at, message.sent_to) == (S.SENT, at, patient.email)
    assert (message.subject, message.attempts, message.lease_until) == ("Your appointment", 1, None)


def test_a_mail_has_a_plain_text_and_an_html_part_and_asks_for_no_automatic_answer(due, at):
    due()

    messages.deliver(at=at)

    sent = mail.outbox[0].message()
    assert [part.get_content_type() for part in sent.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    assert sent["Auto-Submitted"] == "auto-generated"


def test_the_same_thing_is_not_queued_twice(due):
    due("booked")
    due("booked")

    assert Message.objects.count() == 1


def test_nothing_is_sent_before_it_is_due(due, at):
    due(due_at=at + timedelta(seconds=1))

    assert messages.deliver(at=at) == {}
    assert mail.outbox == []


def test_the_oldest_are_sent_first_and_no_more_than_asked_for(due, at):
    due("newer", due_at=at - timedelta(hours=1))
    oldest = due("oldest", due_at=at - timedelta(hours=2))

    assert messages.deliver(at=at, limit=1) == {"sent": 1}
    assert Message.objects.get(status=S.SENT) == oldest


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"deceased": True}, "The patient has died."),
        ({"email": ""}, "There is no e-mail address for the patient."),
    ],
)
def test_a_patient_who_must_not_be_written_to_gets_nothing(due, patient, at, change, reason):
    message = due()
    type(patient).objects.filter(pk=patient.pk).update(**change)

    assert messages.deliver(at=at) == {"skipped": 1}
    message.refresh_from_db()
    assert (mail.outbox, message.reason, message.sent_to) == ([], reason, "")


def test_what_the_kind_no_longer_wants_is_skipped_with_its_reason(due, at):
    message = due("cancelled")

    assert messages.deliver(at=at) == {"skipped": 1}
    message.refresh_from_db()
    assert (mail.outbox, message.reason) == ([], "The appointment was cancelled.")


def test_what_comes_too_late_is_skipped(due, at):
    message = due(not_after=at)

    assert messages.deliver(at=at) == {"skipped": 1}
    message.refresh_from_db()
    assert message.reason == "It was too late to be of use."


def test_one_bad_row_does_not_stop_the_rest_and_its_log_names_nobody(due, at, caplog):
    due("1", due_at=at - timedelta(minutes=3))
    bad = due("unreadable", due_at=at - timedelta(minutes=2))
    due("2", due_at=at - timedelta(minutes=1))

    assert messages.deliver(at=at) == {"sent": 2, "failed": 1}
    bad.refresh_from_db()
    assert bad.reason == "It could not be written (ValueError). Tell the operator."
    assert "Reyes" not in caplog.text
    assert "ValueError at clinic/test_messages.py" in caplog.text


def test_an_address_that_cannot_be_written_in_a_header_fails_alone(due, patient, at):
    type(patient).objects.filter(pk=patient.pk).update(email="a@example.org\nBcc: b@example.org")
    due()

    assert messages.deliver(at=at) == {"failed": 1}
    assert mail.outbox == []


def test_a_kind_that_only_newer_code_knows_is_left_for_it(due, at, settings):
    message = due()
    settings.MESSAGE_KINDS = {"test.older": "tests.clinic.test_messages.Plain"}

    assert messages.deliver(at=at) == {}
    message.refresh_from_db()
    assert message.status == S.DUE


def test_nothing_is_claimed_while_the_relay_cannot_be_reached(due, at, settings):
    message = due()
    settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = "clinic.relay.EmailBackend", "127.0.0.1", 1

    assert messages.deliver(at=at) == {}
    message.refresh_from_db()
    assert (message.status, message.attempts) == (S.DUE, 0)


def test_a_relay_that_takes_the_mail_gets_it_with_its_message_id(due, patient, relay, at):
    message = due()

    assert messages.deliver(at=at) == {"sent": 1}
    assert relay.taken == [(patient.email, message.message_id)]


@pytest.mark.parametrize(
    ("at_command", "answer", "status", "reason"),
    [
        ("RCPT", "450 Greylisted", S.DUE, "The mail relay answered: 450 Greylisted"),
        ("RCPT", "550 No such user {to}", S.FAILED, "The mail relay answered: 550 No such user the address"),
        ("MAIL", "550 Who are you", S.DUE, "The mail relay answered: 550 Who are you"),
        ("DATA", "451 Try later", S.DUE, "The mail relay answered: 451 Try later"),
        ("DATA", "554 Not that", S.FAILED, "The mail relay answered: 554 Not that"),
        ("RCPT", "421 Closing", S.DUE, "The mail relay answered: 421 Closing"),
        ("RCPT", "cut", S.DUE, "The line to the mail relay broke (SMTPServerDisconnected)."),
        (
            "DATA",
            "cut",
            S.UNKNOWN,
            "The line to the mail relay broke (SMTPServerDisconnected). It may or may not have arrived.",
        ),
    ],
)
def test_what_the_relay_answers_decides_what_becomes_of_the_message(
    due, patient, relay, at, at_command, answer, status, reason
):
    message = due()
    relay.answers[at_command] = answer.format(to=patient.email)

    assert messages.deliver(at=at) == {status.value: 1}
    message.refresh_from_db()
    assert (message.status, message.reason) == (status, reason)


def test_a_refused_recipient_does_not_hold_up_the_next_one(due, patient, relay, at):
    other = walk.register(patient.site, at=at, mrn="MRN-2")
    due("1", due_at=at - timedelta(minutes=1))
    due("2", patient=other)
    relay.refuse = patient.email

    assert messages.deliver(at=at) == {"failed": 1, "sent": 1}


def test_a_broken_line_ends_the_batch_so_that_one_fault_touches_one_message(due, relay, at):
    due("1")
    due("2")
    relay.answers["DATA"] = "cut"

    assert messages.deliver(at=at) == {"unknown": 1}
    assert Message.objects.filter(status=S.DUE, attempts=0).count() == 1


def test_what_has_to_wait_is_not_tried_again_at_once(due, relay, at):
    due()
    relay.answers["RCPT"] = "450 Greylisted"
    messages.deliver(at=at)
    relay.answers.clear()

    assert messages.deliver(at=at) == {}
    Message.objects.update(lease_until=Now())
    assert messages.deliver(at=at) == {"sent": 1}


def test_a_worker_that_died_while_sending_leaves_a_message_for_a_person(due, at):
    message = due()
    messages._claim(at)

    assert messages.recover() == 0
    Message.objects.update(lease_until=Now() - timedelta(seconds=1))
    assert messages.recover() == 1
    message.refresh_from_db()
    assert (message.status, message.reason) == (S.UNKNOWN, messages.NOBODY_KNOWS)
    assert messages.deliver(at=at) == {}


def test_a_worker_that_slept_past_its_lease_may_still_say_that_it_was_sent(due, at):
    due()
    claimed = messages._claim(at)
    Message.objects.update(lease_until=Now() - timedelta(seconds=1))
    messages.recover()

    messages._settle(claimed, messages._End(S.SENT), at=at)

    claimed.refresh_from_db()
    assert claimed.status == S.SENT


def test_a_worker_whose_claim_another_one_took_over_changes_nothing(due, at):
    message = due()
    slept = messages._claim(at)
    Message.objects.update(status=S.DUE, lease_until=None)
    messages._claim(at)

    messages._settle(slept, messages._End(S.FAILED, "Too late"), at=at)

    message.refresh_from_db()
    assert (message.status, message.reason, message.attempts) == (S.SENDING, "", 2)


def test_a_message_never_leaves_from_inside_a_transaction(due, at, transactional_db):
    due()

    with pytest.raises(RuntimeError), transaction.atomic():
        messages.deliver(at=at)
    assert mail.outbox == []


def test_a_person_sends_an_unknown_message_again_under_the_same_message_id(due, at):
    message = due()
    Message.objects.update(status=S.UNKNOWN, reason="Unknown")

    again = messages.resend(message, by="coordinator", at=at)

    assert (again.status, again.reason) == (S.DUE, "")
    assert messages.deliver(at=at) == {"sent": 1}
    assert mail.outbox[0].message()["Message-ID"] == message.message_id
    change = StatusChange.objects.get(subject="clinic.Message", subject_id=str(message.pk))
    assert (change.was, change.became, change.by, change.reason) == ("unknown", "due", "coordinator", "Sent again")


def test_a_person_settles_an_unknown_message_that_arrived_or_is_no_longer_needed(due, at):
    arrived, needless = due("1"), due("2")
    Message.objects.update(status=S.UNKNOWN)

    arrived = messages.mark_sent(arrived, by="coordinator", at=at)
    needless = messages.skip(needless, reason="The patient was told by phone.", by="coordinator", at=at)

    assert (arrived.status, arrived.sent_at) == (S.SENT, at)
    assert (needless.status, needless.reason) == (S.SKIPPED, "The patient was told by phone.")


@pytest.mark.parametrize("status", [S.DUE, S.SENDING, S.SENT, S.SKIPPED])
def test_a_person_does_not_settle_what_is_not_theirs_to_settle(due, at, status):
    message = due()
    Message.objects.update(status=status, sent_at=at)

    for step in (messages.resend, messages.mark_sent):
        with pytest.raises(StepRefused, match=f"^This cannot be done by hand to a message that is {status}\\.$"):
            step(message, by="coordinator", at=at)


@pytest.mark.parametrize("end", [S.SENT, S.DUE, S.SKIPPED, S.FAILED, S.UNKNOWN])
def test_a_claimed_message_ends_only_where_the_table_of_moves_leads(due, at, end):
    message = due()
    claimed = messages._claim(at)

    messages._settle(claimed, messages._End(end), at=at)

    message.refresh_from_db()
    assert message.status == end
    assert end in MESSAGE_MOVES[S.SENDING]


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_many_workers_at_once_send_each_message_once(due, at):
    for number in range(60):
        due(str(number))
    start, counts = Barrier(4), []

    def work():
        start.wait()
        counts.append(messages.deliver(at=at).get("sent", 0))
        connection.close()

    workers = [Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert sum(counts) == 60
    assert len({email.extra_headers["Message-ID"] for email in mail.outbox}) == len(mail.outbox) == 60
