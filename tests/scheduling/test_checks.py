import re
from pathlib import Path

from django.conf import settings
from django.core.checks import Tags, run_checks
from django.db import connection

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
