"""With nothing pretended: a worker and beat of their own, a real broker, database, mail relay and web server."""

import os
import re
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import HTTPCookieProcessor, build_opener

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils.timezone import now
from redis import Redis

from clinic import messages
from clinic.models import Message
from clinic.states import MessageStatus as S
from followup.demo import walk
from tests.relays import Relay

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

PROJECT = Path(__file__).parents[2]
QUEUE = f"test-{os.getpid()}"  # apart from a demo on the same broker, and from another test run


@pytest.fixture
def at():
    """Five weeks and a few days ago: who is booked a week from then is asked the 4-week survey today."""
    return now() - timedelta(days=38)


@pytest.fixture
def injected(patient, at):
    return walk.inject(walk.book(walk.open_episode(patient, at=at), at=at)).episode


@pytest.fixture
def relay():
    with Relay() as relay:
        yield relay


@pytest.fixture
def start(tmp_path, live_server, relay, settings):
    """Start `celery worker` or `celery beat` as in production, against this test's servers."""
    database = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}")
    env = os.environ | {
        "DATABASE_URL": database.geturl(),
        "CELERY_QUEUE": QUEUE,
        "EMAIL_URL": f"smtp://127.0.0.1:{relay.port}",
        "BASE_URL": live_server.url,
        "SWEEP_SECONDS": "2",
    }
    running = []

    def start(*command):
        with (tmp_path / f"{command[0]}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "clinic", *command],
                cwd=PROJECT,
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        running.append(process)
        return process

    yield start
    for process in running:
        kill(process)
    with Redis.from_url(settings.REDIS_URL) as broker:
        broker.delete(QUEUE, f"_kombu.binding.{QUEUE}")


@pytest.fixture
def service(start, tmp_path):
    """The worker, with beat beside it."""
    worker = start("worker", "--concurrency", "1", "--loglevel", "INFO")
    start("beat", "--schedule", str(tmp_path / "schedule"), "--pidfile", "")
    return worker


def kill(process):
    """kill -9, the whole group: the pool's children are what does the work."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def wait_for(found, *, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(0.2)
    return None


def test_a_survey_that_falls_due_is_mailed_within_90_seconds_and_its_link_works(injected, service, relay, tmp_path):
    asked = wait_for(lambda: [mail for mail in relay.mails if "A few questions" in mail["Subject"]], seconds=90)

    assert asked, (tmp_path / "worker.log").read_text()
    (mail,) = asked
    assert mail["To"] == injected.patient.email
    (link,) = re.findall(r"https?://\S+/s/\S+", mail.get_body(("plain",)).get_content())
    with build_opener(HTTPCookieProcessor()).open(link) as page:  # the token is exchanged for a cookie at the door
        assert (page.status, page.url.rsplit("/", 2)[-2]) == (200, "start")


def test_a_worker_killed_while_sending_leaves_a_message_for_a_person_and_nothing_goes_out_twice(
    injected, service, start, relay, tmp_path
):
    relay.answers["DATA"] = "hang"
    sending = wait_for(lambda: Message.objects.filter(status=S.SENDING).first(), seconds=90)
    assert sending, (tmp_path / "worker.log").read_text()

    kill(service)
    relay.answers.clear()
    start("worker", "--concurrency", "1", "--loglevel", "INFO")
    everything_else = Message.objects.exclude(pk=sending.pk)
    assert wait_for(lambda: not everything_else.exclude(status=S.SENT).exists(), seconds=90)
    sending.refresh_from_db()
    assert sending.status == S.SENDING  # the lease still runs: whoever holds it might yet send

    Message.objects.filter(pk=sending.pk).update(lease_until=Now())
    assert wait_for(lambda: Message.objects.filter(pk=sending.pk, status=S.UNKNOWN).exists(), seconds=90)
    sending.refresh_from_db()
    assert sending.reason == messages.NOBODY_KNOWS
    assert sorted(mail["Message-ID"] for mail in relay.mails) == sorted(one.message_id for one in everything_else)
