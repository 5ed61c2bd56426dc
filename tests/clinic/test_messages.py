from datetime import timedelta
from threading import Barrier, Thread

import pytest
from django.core import mail
from django.db import connection, transaction
from django.db.models.functions import Now

from clinic import messages, outbox
from clinic.models import Message, StatusChange
from clinic.states import MESSAGE_MOVES
from clinic.states import MessageStatus as S
from clinic.status import StepRefused
from followup.demo import walk

pytestmark = pytest.mark.django_db


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
    assert "ValueError at tests/plain.py" in caplog.text


def test_an_address_that_cannot_be_written_in_a_header_fails_alone(due, patient, at):
    type(patient).objects.filter(pk=patient.pk).update(email="a@example.org\nBcc: b@example.org")
    due()

    assert messages.deliver(at=at) == {"failed": 1}
    assert mail.outbox == []


def test_a_kind_that_only_newer_code_knows_is_left_for_it(due, at, settings):
    message = due()
    settings.MESSAGE_KINDS = {"test.older": "tests.plain.Plain"}

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
        (
            "RCPT",
            "550 <{to_shouted}>: not in our table",
            S.FAILED,
            "The mail relay answered: 550 <the address>: not in our table",
        ),
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
    relay.answers[at_command] = answer.format(to=patient.email, to_shouted=patient.email.upper())

    assert messages.deliver(at=at) == {status.value: 1}
    message.refresh_from_db()
    assert (message.status, message.reason) == (status, reason)


def test_a_refused_recipient_does_not_hold_up_the_next_one(due, patient, relay, at):
    other = walk.register(patient.site, at=at, mrn="MRN-2")
    due("1", due_at=at - timedelta(minutes=1))
    due("2", patient=other)
    relay.refuse = patient.email

    assert messages.deliver(at=at) == {"failed": 1, "sent": 1}


def test_a_line_that_breaks_twice_in_a_row_ends_the_sweep_so_that_few_messages_are_touched(due, relay, at):
    for occasion in "123":
        due(occasion)
    relay.answers["DATA"] = "cut"

    assert messages.deliver(at=at) == {"unknown": 2}
    assert Message.objects.filter(status=S.DUE, attempts=0).count() == 1


def test_a_line_that_breaks_once_is_opened_again_for_the_next_message(due, relay, at):
    for occasion in "123":
        due(occasion)
    relay.once["DATA"] = "cut"

    assert messages.deliver(at=at) == {"unknown": 1, "sent": 2}


def test_a_relay_that_says_later_to_everything_is_not_asked_about_all_that_is_due(due, relay, at):
    for number in range(12):
        due(str(number))
    relay.answers["DATA"] = "451 Disk full"

    assert messages.deliver(at=at) == {"due": 10}
    assert Message.objects.filter(attempts=0).count() == 2


def test_a_refusal_says_that_the_relay_is_well(due, relay, at):
    for number in range(12):
        due(str(number))
    relay.answers["RCPT"] = "550 No such user"

    assert messages.deliver(at=at) == {"failed": 12}


def test_what_has_to_wait_is_not_tried_again_at_once(due, relay, at):
    due()
    relay.answers["RCPT"] = "450 Greylisted"
    messages.deliver(at=at)
    relay.answers.clear()

    assert messages.deliver(at=at) == {}
    Message.objects.update(lease_until=Now())
    assert messages.deliver(at=at) == {"sent": 1}


@pytest.mark.parametrize(
    ("attempts", "at_command", "answer", "minutes"),
    [
        (0, "RCPT", "450 Greylisted", 1),
        (1, "RCPT", "450 Greylisted", 5),
        (2, "DATA", "451 Disk full", 15),
        (3, "RCPT", "450 Greylisted", 60),
        (9, "RCPT", "450 Greylisted", 60),
        (0, "RCPT", "cut", 1 / 6),
        (1, "RCPT", "cut", 1 / 2),
    ],
)
def test_a_message_waits_longer_each_time_and_never_as_long_as_the_one_beside_it(
    due, relay, at, attempts, at_command, answer, minutes
):
    due("1")
    due("2")
    Message.objects.update(attempts=attempts)
    relay.answers[at_command] = answer

    assert messages.deliver(at=at) == {"due": 2}
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM lease_until - now()) / 60 FROM clinic_message ORDER BY 1")
        shorter, longer = [float(row[0]) / minutes for row in cursor.fetchall()]
    assert 0.75 < shorter < longer < 1.25


def test_what_the_relay_put_off_until_it_was_of_no_use_any_more_failed_with_the_relays_words(due, relay, at):
    message = due(not_after=at + timedelta(hours=1))
    relay.answers["RCPT"] = "450 Greylisted"
    messages.deliver(at=at)
    Message.objects.update(lease_until=Now())

    assert messages.deliver(at=at + timedelta(hours=1)) == {"failed": 1}
    message.refresh_from_db()
    assert message.reason == "It could not be handed over in time. The mail relay answered: 450 Greylisted"


def test_what_has_no_end_of_its_own_is_given_up_after_three_days(due, relay, at):
    message = due()
    relay.answers["RCPT"] = "450 Greylisted"
    messages.deliver(at=at)
    Message.objects.update(lease_until=Now(), attempts=len(messages.AFTER_A_BREAK))

    assert messages.deliver(at=at + timedelta(days=3)) == {"failed": 1}
    message.refresh_from_db()
    assert message.reason == "It could not be handed over for 3 days. The mail relay answered: 450 Greylisted"


def test_a_message_that_was_interrupted_before_it_left_is_tried_again(due, at, settings):
    message = due()
    settings.FAULT_POINTS = {"messages.rendered": "raise"}

    assert messages.deliver(at=at) == {"due": 1}
    message.refresh_from_db()
    assert message.reason == "Something else failed before it was sent (OnPurpose)."
    settings.FAULT_POINTS = {}
    Message.objects.update(lease_until=Now())
    assert messages.deliver(at=at) == {"sent": 1}


def test_a_worker_that_was_held_up_for_half_its_lease_does_not_begin_to_send(due, relay, at, settings):
    message = due()
    settings.MESSAGE_LEASE = timedelta(0)

    assert messages.deliver(at=at) == {"due": 1}
    message.refresh_from_db()
    assert (relay.mails, message.reason) == ([], "The line to the mail relay broke (TooLate).")


def test_a_phone_call_is_left_to_a_person(due, at):
    call = due(channel="phone")

    assert messages.deliver(at=at) == {}
    call.refresh_from_db()
    assert (call.status, call.attempts) == (S.DUE, 0)


def test_a_worker_that_died_while_sending_leaves_a_message_for_a_person(due, at):
    message = due()
    outbox.claim("email", at=at)

    assert messages.recover() == 0
    Message.objects.update(lease_until=Now() - timedelta(seconds=1))
    assert messages.recover() == 1
    message.refresh_from_db()
    assert (message.status, message.reason) == (S.UNKNOWN, messages.NOBODY_KNOWS)
    assert messages.deliver(at=at) == {}


def test_a_worker_that_slept_past_its_lease_may_still_say_that_it_was_sent(due, at):
    due()
    claimed = outbox.claim("email", at=at)
    Message.objects.update(lease_until=Now() - timedelta(seconds=1))
    messages.recover()

    outbox.settle(claimed, outbox.End(S.SENT), at=at)

    claimed.message.refresh_from_db()
    assert claimed.message.status == S.SENT


def test_a_worker_whose_claim_another_one_took_over_changes_nothing(due, at):
    message = due()
    slept = outbox.claim("email", at=at)
    Message.objects.update(status=S.DUE, lease_until=None)
    outbox.claim("email", at=at)

    outbox.settle(slept, outbox.End(S.FAILED, "Too late"), at=at)

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


@pytest.mark.parametrize("status", [S.UNKNOWN, S.FAILED])
def test_a_person_puts_aside_what_is_no_longer_needed(due, at, status):
    message = due()
    Message.objects.update(status=status, lease_until=Now())

    aside = messages.skip(message, reason="The patient was told by phone.", by="coordinator", at=at)

    assert (aside.status, aside.reason, aside.lease_until) == (S.SKIPPED, "The patient was told by phone.", None)


def test_a_person_settles_an_unknown_message_that_arrived(due, at):
    arrived = due("1")
    Message.objects.update(status=S.UNKNOWN)

    arrived = messages.mark_sent(arrived, by="coordinator", at=at)

    assert (arrived.status, arrived.sent_at) == (S.SENT, at)


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
    claimed = outbox.claim("email", at=at)

    outbox.settle(claimed, outbox.End(end), at=at)

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


def test_what_is_held_up_until_the_quiet_hours_waits_for_the_morning(due, at):
    message = due()
    night = at + timedelta(hours=13)  # ten in the evening at the clinic

    assert messages.deliver(at=night) == {"due": 1}
    message.refresh_from_db()
    assert (mail.outbox, message.reason) == ([], "It was held up until the quiet hours, and waits for the morning.")
    Message.objects.update(lease_until=None)
    assert messages.deliver(at=night + timedelta(hours=10)) == {"sent": 1}


def test_what_cannot_wait_for_the_morning_goes_at_night(due, at):
    due(not_after=at + timedelta(hours=20))

    assert messages.deliver(at=at + timedelta(hours=13)) == {"sent": 1}


def test_what_was_meant_for_the_night_goes_at_night(due, at):
    due(due_at=at + timedelta(hours=13))

    assert messages.deliver(at=at + timedelta(hours=13)) == {"sent": 1}
