import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from django.conf import settings
from django.core.checks import Tags, run_checks
from django.db import connection

from bench._service import PROJECT, gunicorn, same_database
from scheduling.models import Reservation
from scheduling.models.appointment import ONE_RESERVATION

WRITES = re.compile(r"\bReservation\(|\bReservation\.objects\.(bulk_)?(create|update)")


def database_errors():
    return [found.id for found in run_checks(tags=[Tags.database], databases=["default"])]


def test_a_guarded_database_passes(db):
    assert database_errors() == []


def test_a_database_that_would_book_twice_does_not_start(db):
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {Reservation._meta.db_table} DROP CONSTRAINT {ONE_RESERVATION}")

    assert database_errors() == ["scheduling.E001"]


def test_a_database_before_its_first_migration_may_be_migrated(db):
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {Reservation._meta.db_table} RENAME TO gone")

    assert database_errors() == []


def test_only_the_diary_writes_reservations():
    sources = [
        path
        for app in ("clinic", "scheduling", "followup")
        for path in Path(settings.BASE_DIR, app).rglob("*.py")
        if "migrations" not in path.parts and "models" not in path.parts
    ]

    assert [path.name for path in sources if WRITES.search(path.read_text())] == ["diary.py"]


@pytest.fixture
def unguarded(transactional_db):
    """A database that somebody has taken the constraint out of."""
    guard = next(one for one in Reservation._meta.constraints if one.name == ONE_RESERVATION)
    with connection.schema_editor() as editor:
        editor.remove_constraint(Reservation, guard)
    yield
    with connection.schema_editor() as editor:
        editor.add_constraint(Reservation, guard)


def started(*command):
    """How a process of the service ended, and what it said; or that it had to be stopped."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=PROJECT,
        env=same_database() | {"CELERY_QUEUE": f"test-{os.getpid()}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said = process.communicate(timeout=60)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return process.returncode, said


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("gunicorn", "--bind", "127.0.0.1:0"),
        ("celery", "-A", "clinic", "worker", "--concurrency", "1"),
    ],
    ids=["web", "worker"],
)
def test_neither_web_nor_worker_starts_where_it_could_book_twice(unguarded, command):
    code, said = started(*command)

    assert code != 0
    assert "The database 'default' does not refuse double bookings" in said


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_web_server_starts_on_a_guarded_database(db):
    with gunicorn(workers=1) as port, urlopen(f"http://127.0.0.1:{port}/livez") as page:
        assert page.status == 200
