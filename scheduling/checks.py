"""What must be true of the database before anything is booked (`manage.py check --database default`, `migrate`)."""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections

from scheduling.models import Reservation
from scheduling.models.appointment import ONE_RESERVATION


@register(Tags.database)
def nothing_is_booked_twice(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Every other rule of booking is code; this one the database keeps, and without it there is no service."""
    table = Reservation._meta.db_table
    missing = []
    for alias in databases or ():
        with connections[alias].cursor() as cursor:
            # No table yet: the migration that is about to run makes both.
            cursor.execute(
                "SELECT to_regclass(%s) IS NULL OR EXISTS (SELECT FROM pg_constraint WHERE conname = %s"
                " AND contype = 'x' AND convalidated AND conrelid = to_regclass(%s))",
                [table, ONE_RESERVATION, table],
            )
            if not cursor.fetchone()[0]:
                missing.append(alias)
    return [
        Error(
            f"The database '{alias}' does not refuse double bookings: constraint {ONE_RESERVATION} is missing.",
            hint="Restore it from scheduling/migrations/0001_initial.py before anybody books.",
            id="scheduling.E001",
        )
        for alias in missing
    ]
