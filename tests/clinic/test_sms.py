"""The line to an SMS provider: a real HTTP server, and what each of its answers means."""

import json
import socket
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.parse import parse_qs

import pytest
from django.core.checks import run_checks
from django.db.models.functions import Now

from clinic import messages, optouts, sms, text
from clinic.models import Channel, Message
from clinic.relay import Answer
from clinic.states import MessageStatus as S
from followup.demo import walk
from scheduling import reminders

TO = "+13125550100"


class Provider(HTTPServer):
    """Keeps what it was sent and answers as told; "cut" hangs up instead, "silent" never answers."""

    answer, said = 200, '{"id": "1"}'

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.got = []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.got.append((self.path, dict(self.headers), body))
        if self.server.answer == "cut":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if self.server.answer == "silent":
            self.connection.settimeout(5)
            self.rfile.read(1)
            return
        self.send_response(self.server.answer)
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()
        self.wfile.write(self.server.said.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def provider(settings):
    with Provider() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        settings.SMS_LINE, settings.SMS_TOKEN = "clinic.sms.Http", "secret-token"
        settings.SMS_URL = f"http://127.0.0.1:{server.server_port}/v1/send?region=us"
        settings.SMS_SENDER, settings.SMS_TIMEOUT = "Clinic", 0.3
        yield server
        server.shutdown()
        thread.join()


def send(words="We expect you."):
    with closing(sms.line()) as line:
        assert line.ready()
        return line.send(TO, words, "<1@pulposus>")


def test_a_text_is_posted_as_json_with_our_token_and_a_reference(provider):
    assert send().answer == Answer.TAKEN

    ((path, headers, body),) = provider.got
    assert path == "/v1/send?region=us"
    assert (headers["Authorization"], headers["Idempotency-Key"]) == ("Bearer secret-token", "<1@pulposus>")
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == {"to": TO, "text": "We expect you.", "reference": "<1@pulposus>", "sender": "Clinic"}


def test_a_provider_that_wants_a_form_with_names_of_its_own_gets_that(provider, settings):
    settings.SMS_FORMAT, settings.SMS_FIELDS = "form", {"to": "To", "text": "Body", "sender": "From"}

    send("نراك غدًا")

    ((_, headers, body),) = provider.got
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert parse_qs(body) == {"To": [TO], "Body": ["نراك غدًا"], "From": ["Clinic"]}


@pytest.mark.parametrize(
    ("code", "answer", "line_broken"),
    [
        (200, Answer.TAKEN, False),
        (202, Answer.TAKEN, False),
        (302, Answer.LATER, True),
        (307, Answer.LATER, True),
        (400, Answer.REFUSED, False),
        (401, Answer.LATER, True),
        (402, Answer.LATER, True),
        (404, Answer.LATER, True),
        (408, Answer.UNKNOWN, True),
        (422, Answer.REFUSED, False),
        (429, Answer.LATER, True),
        (500, Answer.UNKNOWN, True),
        (502, Answer.UNKNOWN, True),
        (503, Answer.LATER, True),
        ("cut", Answer.UNKNOWN, True),
        ("silent", Answer.UNKNOWN, True),
    ],
)
def test_the_answer_decides_what_is_known_of_the_text(provider, code, answer, line_broken):
    provider.answer = code

    reply = send()

    assert (reply.answer, reply.line_broken) == (answer, line_broken)
    assert len(provider.got) == 1  # a redirect is not followed: our token is for one address


def test_the_providers_words_are_kept_without_the_number(provider):
    provider.answer, provider.said = 422, f'{{"error":\n "{TO} or {TO[1:]} is a landline"}}'

    assert send().words == 'The SMS provider answered: 422 {"error": "the number or the number is a landline"}'


def test_nothing_is_claimed_while_the_provider_cannot_be_reached(provider, settings):
    settings.SMS_URL = "http://127.0.0.1:1/"

    assert not sms.line().ready()


@pytest.mark.parametrize("url", ["http://sms.example.org/", "ftp://127.0.0.1/", "", "https://"])
def test_a_token_never_leaves_without_tls(settings, url):
    settings.SMS_LINE, settings.SMS_URL = "clinic.sms.Http", url

    assert not sms.line().ready()


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, []),
        ({"SMS_LINE": "clinic.sms.Http", "SMS_URL": "https://sms.example.org/", "SMS_TOKEN": "x"}, []),
        ({"SMS_LINE": "clinic.sms.Http", "SMS_URL": "http://sms.example.org/", "SMS_TOKEN": "x"}, ["clinic.E004"]),
        ({"SMS_LINE": "clinic.sms.Http", "SMS_URL": "https://sms.example.org/"}, ["clinic.E004"]),
        ({"SMS_LINE": "clinic.sms.Console"}, ["clinic.E004"]),
        ({"SMS_LINE": "clinic.sms.Pigeon"}, ["clinic.E004"]),
        ({"MAIL_PROVIDER": "pigeon", "MAIL_PROVIDER_SECRET": "x"}, ["clinic.E005"]),
        ({"MAIL_PROVIDER": "mailgun", "MAIL_PROVIDER_SECRET": ""}, ["clinic.E005"]),
        ({"MAIL_PROVIDER": "mailgun", "MAIL_PROVIDER_SECRET": "x"}, []),
    ],
)
def test_what_is_set_up_wrongly_is_said_before_anything_starts(settings, changed, found):
    settings.DEBUG = settings.DEMO = False
    for name, value in changed.items():
        setattr(settings, name, value)

    assert [one.id for one in run_checks() if one.id in ("clinic.E004", "clinic.E005")] == found


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("ş" * 70, 1),
        ("ş" * 71, 2),
        ("ü" * 160, 1),
        ("", 1),
    ],
)
def test_the_segments_of_a_text_are_counted_as_the_network_does(words, count):
    assert sms.segments(words) == count


@pytest.mark.parametrize(
    ("phone", "dialled"),
    [
        ("+1 (312) 555-0100", TO),
        ("001 312 555 0100", TO),
        ("+49 (0)30 1234567", "+49301234567"),
        ("312 555 0100", ""),
        ("+1 312 555 0100 ext. 5", ""),
        ("+0123456789", ""),
        ("", ""),
    ],
)
def test_only_a_number_with_its_country_is_dialled(phone, dialled):
    assert text.dialled(phone) == dialled


def test_the_screen_shows_what_would_be_sent(settings, capsys):
    settings.SMS_LINE = "clinic.sms.Console"

    assert send().answer == Answer.TAKEN
    assert capsys.readouterr().out == f"SMS to {TO}: We expect you.\n"


@pytest.fixture
def by_text(site, at):
    """A message about a visit that goes by text."""
    booked = walk.book(walk.open_episode(walk.register(site, at=at), at=at), at=at)
    reminders.queue_due(at=at)
    Message.objects.update(channel=Channel.SMS)
    return booked


def test_a_message_goes_by_text_once_and_in_one_segment(by_text, provider, at):
    assert (messages.deliver(at=at), messages.deliver(at=at)) == ({"sent": 1}, {})

    ((_, _, body),) = provider.got
    words = json.loads(body)["text"]
    assert words == (
        "Lakeside Spine Clinic: your appointment is on Mon 11 May, 08:00. If you cannot come, call +1 312 555 0142."
    )
    assert (Message.objects.get().sent_to, sms.segments(words)) == (TO, 1)


def test_who_wants_no_texts_gets_none(by_text, provider, at):
    optouts.stop(by_text.episode.patient, channel="sms", by="patient", at=at)

    assert (messages.deliver(at=at), provider.got) == ({"skipped": 1}, [])
    assert Message.objects.get().reason == "The patient asked not to get text messages."


def test_without_a_provider_a_text_fails_where_a_person_sees_it(by_text, at):
    assert messages.deliver(at=at) == {"failed": 1}
    assert Message.objects.get().reason == "No SMS provider is set up."


def test_a_text_that_may_have_left_is_never_sent_blindly_again(by_text, provider, at):
    provider.answer = "cut"
    messages.deliver(at=at)
    provider.answer = 200
    Message.objects.filter(lease_until__isnull=False).update(lease_until=Now())

    assert messages.deliver(at=at) == {}
    assert (Message.objects.get().status, len(provider.got)) == (S.UNKNOWN, 1)
