"""A worker, a beat and a stand-in of their own, and a real Valkey that is killed under them."""

import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from django.db import connection
from django.utils.timezone import now

from clinic.models import Message
from clinic.states import MessageStatus as S
from dev.instance import SCRATCH, Instance
from dev.machine import ServicesError
from dev.processes import Together
from followup.demo import walk
from tests.faults.test_real_processes import wait_for
from tests.relays import Relay

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

SWEEP = 1  # second


@pytest.fixture
def relay():
    with Relay() as relay:
        yield relay


@pytest.fixture
def valkey(tmp_path):
    try:
        binary = Instance(SCRATCH).valkey_bin
    except ServicesError as problem:
        pytest.skip(str(problem))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = []

    def start():
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        with redis.Redis(port=port) as client:
            assert wait_for(lambda: answers(client), seconds=20)
        return started[-1]

    start.url = f"redis://127.0.0.1:{port}/0"
    yield start
    for process in started:
        process.kill()
        process.wait()


def answers(client):
    try:
        return client.ping()
    except redis.ConnectionError:
        return False


@pytest.fixture
def service(valkey, relay, tmp_path):
    database = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}")
    env = {
        "DATABASE_URL": database.geturl(),
        "REDIS_URL": valkey.url,
        "EMAIL_URL": f"smtp://127.0.0.1:{relay.port}",
        "SWEEP_SECONDS": str(SWEEP),
    }
    with Together(env, tmp_path) as together:
        yield together


def start_all(together, tmp_path):
    celery = [sys.executable, "-m", "celery", "-A", "clinic"]
    together.start("worker", *celery, "worker", "--concurrency", "1", "--loglevel", "INFO")
    for name in ("beat", "another-beat"):
        together.start(name, *celery, "beat", "--schedule", str(tmp_path / f"{name}-schedule"), "--pidfile", "")
    together.start("stand-in", sys.executable, Path(__file__).parents[2] / "manage.py", "stand_in")


def swept_by_worker(tmp_path):
    return (tmp_path / "worker.log").read_text().count("clinic.deliver_messages")


def test_messages_are_sent_while_the_broker_is_gone_and_none_twice_when_it_is_back(
    site, service, relay, valkey, tmp_path
):
    broker = valkey()
    start_all(service, tmp_path)
    numbers = iter(range(100))

    def book_and_wait(*, seconds):
        """A patient is booked now, and waits for the mail that says so."""
        at = now()
        patient = walk.register(site, at=at - timedelta(days=1), mrn=f"MRN-{next(numbers)}")
        walk.book(walk.open_episode(patient, at=at - timedelta(days=1)), at=at)
        assert wait_for(lambda: patient.email in {to for to, _ in relay.taken}, seconds=seconds)

    book_and_wait(seconds=90)  # everything has started
    broker.kill()
    broker.wait()
    book_and_wait(seconds=30)  # three sweeps missed, and one look
    book_and_wait(seconds=15)  # the stand-in goes on by itself
    assert service.dead() is None

    valkey()
    before = swept_by_worker(tmp_path)
    assert wait_for(lambda: swept_by_worker(tmp_path) > before, seconds=60)
    book_and_wait(seconds=30)
    assert wait_for(lambda: not Message.objects.exclude(status=S.SENT).exists(), seconds=30)
    sent = sorted(message.message_id for message in Message.objects.filter(status=S.SENT))
    assert sorted(message_id for _, message_id in relay.taken) == sent
