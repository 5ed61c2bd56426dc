"""The one door for status: nothing else in the service writes a status column."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar, cast

from django.db import models

from clinic.models import StatusChange

Row = TypeVar("Row", bound=models.Model)


class StepRefused(Exception):
    """A step cannot be taken now; the text tells a coordinator why, and what to do. Edges catch only this."""

    code = "refused"
    facts: Mapping[str, Any] = {}  # what a program wants to know beyond the sentence, in words that JSON has


class Stale(StepRefused):
    """Somebody has changed it since whoever asks looked at it."""

    code = "stale"


def move(
    row: Row,
    to: str,
    *,
    moves: Mapping[str, set[str]],
    by: str,
    at: datetime,
    reason: str = "",
    field: str = "status",
    also: Mapping[str, Any] | None = None,
) -> Row:
    """Return `row`, freshly locked, with its status moved to `to`, and leave a StatusChange. Call inside a transaction.

    `also` holds columns that a constraint ties to the status (closed_at, completed_at): one UPDATE writes them all.

    Raises StepRefused if the table of legal `moves` does not lead from the present status to `to`.
    """
    row = type(row)._default_manager.select_for_update(of=("self",), no_key=True).get(pk=row.pk)
    was = getattr(row, field)
    if to not in moves[was]:
        column = cast("models.Field[Any, Any]", row._meta.get_field(field))  # a status is no relation
        labels = dict(column.choices or ())
        raise StepRefused(f"{row} is {labels.get(was, was)}; it cannot become {labels.get(to, to)}.")
    note(row, was=was, became=to, by=by, at=at, reason=reason)
    changed = {field: to, **(also or {})}
    for name, value in changed.items():
        setattr(row, name, value)
    row.save(update_fields=list(changed))
    return row


def note(row: models.Model, *, was: str, became: str, by: str, at: datetime, reason: str = "") -> None:
    """Leave a StatusChange for `row` (its first status, or a change that keeps the status, such as a move)."""
    StatusChange.objects.create(
        subject=row._meta.label, subject_id=str(row.pk), was=was, became=became, by=by, at=at, reason=reason
    )
