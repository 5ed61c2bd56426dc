"""How a refusal is worded: every answer that is not a success has a `code` for programs and a `detail` for people."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError as BadValue
from django.db import DatabaseError, DataError
from rest_framework import exceptions, serializers
from rest_framework.response import Response
from rest_framework.views import exception_handler

from clinic.status import Stale, StepRefused


class Refusal(serializers.Serializer):
    code = serializers.CharField(help_text="Stable, for programs.")
    detail = serializers.CharField(help_text="A sentence for a person.")


BUSY = (409, "busy", "Others were changing the same day. Nothing was changed: try again.")
WRONG = (400, "invalid", "A value is outside of what can be stored.")
# Steps lock and check first, so these speak up only in a race or for a value that no shape could catch.
BY_SQLSTATE = {
    "23P01": (409, "taken", "Somebody else has just taken that time. Search again and choose another."),
    "23505": (409, "exists", "That is there already. Look it up instead of adding it again."),
    "23514": WRONG,
    "40001": BUSY,
    "40P01": BUSY,
    "22": WRONG,  # the whole class of bad values: out of range, not a date, text that cannot be kept
}


def explain(error: Exception, context: dict[str, Any]) -> Response | None:
    """The answer to a refusal, or None: what is not foreseen here is a bug, and crashes."""
    if isinstance(error, StepRefused):
        status = 412 if isinstance(error, Stale) else 409
        return Response({"code": error.code, "detail": str(error), **error.facts}, status=status)
    if isinstance(error, DatabaseError):
        return _explain_database(error)
    if isinstance(error, BadValue):
        error = exceptions.ValidationError(serializers.as_serializer_error(error))
    answer = exception_handler(error, context)
    if answer is None:
        return None
    if isinstance(error, exceptions.ValidationError):
        wrong = answer.data if isinstance(answer.data, Mapping) else {"non_field_errors": answer.data}
        answer.data = {"code": "invalid", "detail": "Some of what was sent is not right.", "fields": wrong}
    else:
        answer.data = {"code": answer.data["detail"].code, "detail": answer.data["detail"]}
    return answer


def _explain_database(error: DatabaseError) -> Response | None:
    sqlstate = getattr(error.__cause__, "sqlstate", None) or ""
    # psycopg refuses some values (a NUL) before the server sees them, and then there is no SQLSTATE.
    known = BY_SQLSTATE.get(sqlstate) or BY_SQLSTATE.get(sqlstate[:2])
    if known is None and isinstance(error, DataError):
        known = WRONG
    if known is None:
        return None
    status, code, detail = known
    return Response({"code": code, "detail": detail}, status=status)
