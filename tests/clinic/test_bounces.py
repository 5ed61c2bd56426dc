"""What came back is read, believed only about mails of ours, shown to the desk, and nothing more is sent there."""

import hashlib
import hmac
import io
import json
from base64 import b64encode
from datetime import timedelta

import pytest
from django.core import mail
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from clinic import bounces, maildirs, messages, optouts, patients, reports
from clinic.models import DeliveryEvent, Message, ReturnedMail
from clinic.roles import COORDINATOR
from clinic.states import MessageStatus as S
from clinic.tasks import read_bounces
from followup import demo
from followup.demo import walk
from tests.desk import Desk, offered, said

DSN = """\
Return-Path: <>
From: MAILER-DAEMON@relay.example.org
To: clinic@example.org
Date: Mon, 4 May 2026 09:01:00 -0500
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="B"

--B
Content-Type: text/plain

Your mail could not be delivered.

--B
Content-Type: message/delivery-status

Reporting-MTA: dns; relay.example.org
X-Postfix-Queue-ID: 4711

Final-Recipient: rfc822; {to}
Action: {action}
Status: {status}
Diagnostic-Code: smtp; {words}

--B
Content-Type: {original}

Subject: Your appointment
Message-ID: {message_id}
To: {to}

--B--
"""
ARF = """\
From: abuse@mail.example.org
To: clinic@example.org
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="B"

--B
Content-Type: text/plain

Somebody called this mail unwanted.

--B
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: Test/1
Version: 1

--B
Content-Type: message/rfc822

Message-ID: {message_id}
Subject: Your appointment

Words
--B--
"""
NO_USER = "550 5.1.1 <{to}>: Recipient address rejected: User unknown"


@pytest.fixture
def patient(bare_site, at):
    return walk.register(bare_site, at=at)


@pytest.fixture
def sent(patient, at):
    """A mail that left."""
    row = Message(
        site=patient.site, patient=patient, kind="appointment.booked", about="1", due_at=at,
        status=S.SENT, sent_at=at, sent_to=patient.email,
    )  # fmt: skip
    row.save()
    return row


def dsn(message, *, action="failed", status="5.1.1", words=NO_USER, original="text/rfc822-headers", message_id=""):
    to = message.sent_to
    return DSN.format(
        to=to, action=action, status=status, words=words.format(to=to), original=original,
        message_id=message_id or message.message_id,
    ).encode()  # fmt: skip


def reason(patient):
    return optouts.reason_not_to(type(patient).objects.get(pk=patient.pk), "email", "appointments")


CAME_BACK = "Mail to this address came back."


@pytest.mark.parametrize("original", ["text/rfc822-headers", "message/rfc822"])
def test_a_delivery_report_says_which_mail_did_not_arrive_and_why(sent, patient, at, original):
    (report,) = reports.read(dsn(sent, original=original))

    assert (report.message_id, report.event, report.address) == (sent.message_id, "bounced", patient.email)
    assert (report.permanent, report.at.isoformat()) == (True, "2026-05-04T14:01:00+00:00")
    assert report.words == f"5.1.1 550 5.1.1 <{patient.email}>: Recipient address rejected: User unknown"


@pytest.mark.parametrize(
    ("words", "dead"),
    [
        ("550 5.1.1 User unknown", True),
        ("5.1.10 550 Null MX", True),
        ("5.2.1 Mailbox disabled", True),
        ("550 No such user", True),
        ("The mail relay answered: 553 Bad name", True),
        ("550 5.7.1 Blocked, see our policy", False),
        ("552 5.2.2 Mailbox full", False),
        ("554 5.6.0 Bad content", False),
        ("554 Spam", False),
        ("450 4.2.0 Greylisted", False),
        ("4.4.7 Delivery time expired", False),
        ("", False),
    ],
)
def test_only_what_is_said_of_the_address_itself_is_for_good(words, dead):
    assert reports.is_dead(words) is dead


def test_nothing_more_is_sent_to_a_dead_address_and_the_row_says_why(sent, patient, at):
    assert maildirs.take(dsn(sent), at=at + timedelta(minutes=2)) == 1

    assert reason(patient) == CAME_BACK
    returned = ReturnedMail.objects.get()
    assert (returned.kind, returned.permanent, returned.address) == ("bounced", True, patient.email)
    assert [(event.event, event.at) for event in DeliveryEvent.objects.all()] == [
        ("bounced", at + timedelta(minutes=1))
    ]


def test_told_twice_it_is_noted_once(sent, at):
    for _ in range(2):
        maildirs.take(dsn(sent), at=at + timedelta(minutes=2))

    assert (ReturnedMail.objects.count(), DeliveryEvent.objects.count()) == (1, 1)


def test_a_full_mailbox_is_seen_to_but_still_written_to(sent, patient, at):
    maildirs.take(dsn(sent, status="5.2.2", words="552 5.2.2 Mailbox full"), at=at)

    assert (reason(patient), ReturnedMail.objects.get().permanent) == ("", False)


@pytest.mark.parametrize("action", ["delayed", "relayed", "expanded"])
def test_a_report_that_says_nothing_final_changes_nothing(sent, at, action):
    assert maildirs.take(dsn(sent, action=action, status="4.4.1"), at=at) == 0
    assert not ReturnedMail.objects.exists()


def test_a_delivered_mail_is_noted_as_delivered(sent, at):
    maildirs.take(dsn(sent, action="delivered", status="2.0.0", words="250 OK"), at=at + timedelta(minutes=2))

    assert DeliveryEvent.objects.get().event == "delivered"
    assert not ReturnedMail.objects.exists()


def test_a_complaint_ends_mail_to_the_address(sent, patient, at):
    maildirs.take(ARF.format(message_id=sent.message_id).encode(), at=at)

    assert reason(patient) == "The patient's mail service reported our mail as unwanted."


@pytest.mark.parametrize(
    "message_id",
    [
        "<11111111-2222-3333-4444-555555555555@pulposus>",
        "<{id}@evil.example>",
        "<CAF=abc@mail.example.org>",
        "<zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz@pulposus>",
        "not one",
    ],
)
def test_what_is_not_about_a_mail_of_ours_is_forgotten(sent, at, message_id):
    assert maildirs.take(dsn(sent, message_id=message_id.format(id=sent.pk)), at=at) == 0
    assert (ReturnedMail.objects.count(), DeliveryEvent.objects.count()) == (0, 0)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00\xff\xfe",
        b"Subject: Hello\n\nI will come.",
        b"Content-Type: multipart/report; boundary=B\n\n--B\nContent-Type: message/delivery-status\n\n",
        b"Content-Type: multipart/report; boundary=B\n\n--B\nContent-Type: message/rfc822\n\n\n--B--",
        b"Content-Type: multipart/report\nDate: never\n\n",
        b"Content-Type: multipart/report; boundary=B\nContent-Transfer-Encoding: x\n\n--B\n" * 200,
    ],
)
def test_whatever_a_stranger_mails_is_read_without_failing(raw):
    assert reports.read(raw) == []


def test_every_cut_of_a_report_is_read_without_failing(sent):
    whole = dsn(sent)

    assert {len(reports.read(whole[:end])) for end in range(0, len(whole), 7)} <= {0, 1}


def test_a_new_address_is_written_to_at_once_and_the_old_one_stays_dead(sent, patient, at):
    maildirs.take(dsn(sent), at=at)
    old = patient.email

    patients.correct(patient, email="new@example.org", by="ann", at=at)
    assert reason(patient) == ""
    patients.correct(patient, email=old.upper(), by="ann", at=at)
    assert reason(patient) == CAME_BACK


def test_the_maildir_is_read_once_and_one_bad_mail_does_not_stop_the_rest(sent, at, tmp_path, settings, monkeypatch):
    for folder in ("new", "cur", "tmp"):
        (tmp_path / folder).mkdir()
    (tmp_path / "new" / "1").write_bytes(b"bad")
    (tmp_path / "new" / "2").write_bytes(dsn(sent))
    settings.BOUNCE_MAILDIR = str(tmp_path)
    read = reports.read
    monkeypatch.setattr(reports, "read", lambda raw: 1 / 0 if raw == b"bad" else read(raw))

    first, second = maildirs.read_bounces(at=at), maildirs.read_bounces(at=at)

    assert (first, second) == (1, 0)
    assert sorted(file.name for file in tmp_path.rglob("*") if file.is_file()) == ["1", "2:2,S"]


def test_a_report_is_taken_from_standard_input_or_a_maildir_by_hand(sent, tmp_path, monkeypatch):
    told = io.StringIO()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(dsn(sent))))

    call_command("read_bounces", stdout=told)

    assert told.getvalue() == "1 reports about mails of ours.\n"
    assert ReturnedMail.objects.count() == 1


def test_an_address_the_relay_itself_refuses_comes_back_too(patient, sent, at):
    Message.objects.update(status=S.FAILED, sent_at=None, reason="The mail relay answered: 550 5.1.1 No such user")

    assert (bounces.take_refused(at=at), bounces.take_refused(at=at)) == (1, 0)
    assert reason(patient) == CAME_BACK


def test_a_mail_refused_for_what_it_says_is_not_the_addresss_fault(patient, sent, at):
    Message.objects.update(status=S.FAILED, sent_at=None, reason="The mail relay answered: 554 5.7.1 Spam")

    assert bounces.take_refused(at=at) == 0
    assert reason(patient) == ""


def test_the_sweep_of_every_minute_does_all_of_it(sent):
    Message.objects.update(status=S.FAILED, sent_at=None, reason="The mail relay answered: 550 5.1.1 No such user")

    assert read_bounces() == {"bounces_read": 0, "addresses_refused": 1, "calls_put_aside": 0}


def test_the_next_message_to_a_dead_address_is_skipped_and_says_why(sent, patient, at, settings):
    settings.MESSAGE_KINDS = {"test.plain": "tests.plain.Plain"}
    maildirs.take(dsn(sent), at=at)
    messages.queue([Message(site=patient.site, patient=patient, kind="test.plain", about="2", due_at=at)])

    assert messages.deliver(at=at) == {"skipped": 1}
    assert mail.outbox == []
    assert Message.objects.get(about="2").reason == CAME_BACK


def test_the_desk_sees_it_and_writes_again_when_the_address_is_right(sent, patient, at, clock_stopped, bare_site):
    desk = Desk(demo.staff_member(bare_site, "ann", COORDINATOR, password="a long test password"))
    maildirs.take(dsn(sent), at=at)
    returned = ReturnedMail.objects.get()

    looks = desk.client.get(reverse("admin:index")).context["queues"]
    look = next(look for look in looks if look.queue.title == "Mail that came back")
    assert (look.count, look.lines[0].who) == (1, "Reyes, Marta")
    assert "User unknown Nothing more is sent there. Phone +13125550100." in look.lines[0].what
    assert offered(desk.page(returned)) == ["Correct the address", "Write to this address again"]
    assert said(desk.take(returned, "settle")) == "Reyes, Marta is written to again."
    assert reason(patient) == ""
    assert offered(desk.page(returned)) == []


# The provider's events

KEY = "key-1234"


@pytest.fixture
def mailgun(settings):
    settings.MAIL_PROVIDER, settings.MAIL_PROVIDER_SECRET = "mailgun", KEY
    settings.ANYMAIL = {"MAILGUN_WEBHOOK_SIGNING_KEY": KEY}

    def post(event, *, key=KEY):
        signature = hmac.new(key.encode(), b"1777903200token", hashlib.sha256).hexdigest()
        block = {"timestamp": "1777903200", "token": "token", "signature": signature}
        body = {"signature": block, "event-data": event}
        return Client().post(reverse("mail-events"), json.dumps(body), content_type="application/json")

    return post


def failed(message, /, **changed):
    return {
        "event": "failed",
        "severity": "permanent",
        "reason": "bounce",
        "timestamp": 1777903201.5,
        "recipient": message.sent_to,
        "message": {"headers": {"message-id": message.message_id.strip("<>")}},
        "delivery-status": {"code": 550, "message": "5.1.1 No such user"},
    } | changed


def test_a_signed_event_of_the_provider_ends_mail_to_the_address(sent, patient, mailgun):
    assert mailgun(failed(sent)).status_code == 200

    assert (reason(patient), ReturnedMail.objects.get().words) == (CAME_BACK, "5.1.1 No such user")
    assert DeliveryEvent.objects.get().event == "bounced"


def test_an_event_that_is_sent_again_is_noted_once(sent, mailgun):
    assert [mailgun(failed(sent)).status_code for _ in range(2)] == [200, 200]
    assert (ReturnedMail.objects.count(), DeliveryEvent.objects.count()) == (1, 1)


@pytest.mark.parametrize(
    ("changed", "events", "why"),
    [
        ({"event": "delivered", "reason": None}, ["delivered"], ""),
        ({"severity": "temporary"}, [], ""),
        ({"reason": "generic"}, ["bounced"], ""),
        ({"event": "complained"}, ["complained"], "The patient's mail service reported our mail as unwanted."),
        ({"event": "opened"}, [], ""),
        ({"message": {"headers": {"message-id": "x@mail.example.org"}}}, [], ""),
    ],
)
def test_each_event_of_the_provider_means_what_it_says(sent, patient, mailgun, changed, events, why):
    event = {name: value for name, value in failed(sent, **changed).items() if value is not None}

    assert mailgun(event).status_code == 200
    assert [*DeliveryEvent.objects.values_list("event", flat=True)] == events
    assert reason(patient) == why


def test_an_event_that_is_not_signed_with_our_key_changes_nothing(sent, mailgun):
    assert mailgun(failed(sent), key="another").status_code == 400
    assert not ReturnedMail.objects.exists()


@pytest.mark.parametrize("event", [{}, [], "x", {"event": None}, {"event": "failed", "timestamp": "now"}])
def test_an_event_nobody_understands_is_refused_and_not_a_fault_of_ours(mailgun, db, event):
    assert mailgun(event).status_code in (200, 400)


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"{}", b'{"signature": 1}'])
def test_a_body_nobody_understands_is_refused(mailgun, db, body):
    assert Client().post(reverse("mail-events"), body, content_type="application/json").status_code == 400


def test_a_provider_that_does_not_sign_shows_its_password(sent, patient, settings):
    settings.MAIL_PROVIDER, settings.MAIL_PROVIDER_SECRET = "postmark", "clinic:secret"
    settings.ANYMAIL = {"WEBHOOK_SECRET": "clinic:secret"}
    event = {
        "RecordType": "Bounce", "Type": "HardBounce", "TypeCode": 1,
        "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483",
        "Email": sent.sent_to,
        "BouncedAt": "2026-05-04T14:00:00Z",
        "Description": "No such user",
        "Metadata": {"message-id": sent.message_id},
    }  # fmt: skip

    def post(password):
        word = b64encode(f"clinic:{password}".encode()).decode()
        headers = {"authorization": f"Basic {word}"}
        return Client(headers=headers).post(reverse("mail-events"), json.dumps(event), content_type="application/json")

    assert bounces.headers(sent) == {"X-PM-Metadata-message-id": sent.message_id}
    assert (post("wrong").status_code, reason(patient)) == (400, "")
    assert (post("secret").status_code, reason(patient)) == (200, CAME_BACK)


@pytest.mark.parametrize(("provider", "secret"), [("", ""), ("mailgun", ""), ("carrier-pigeon", "x")])
def test_without_a_provider_and_its_secret_there_is_no_such_page(db, settings, provider, secret):
    settings.MAIL_PROVIDER, settings.MAIL_PROVIDER_SECRET = provider, secret

    assert Client().post(reverse("mail-events")).status_code == 404
