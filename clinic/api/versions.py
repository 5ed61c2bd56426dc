"""ETag and If-Match (RFC 9110): who changes a row may say which state of it they looked at."""

from collections.abc import Collection

from django.db import models
from django.utils.http import parse_etags
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

IF_MATCH = OpenApiParameter(
    "If-Match",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="The ETag of the row as you saw it. If somebody has changed it since, the answer is 412 and nothing is "
    "done.",
)


def etag_of(row: models.Model) -> str:
    revision = getattr(row, "revision", None)
    return "" if revision is None else f'"{revision}"'


def seen(request: Request) -> Collection[int] | None:
    """The revisions that If-Match allows; None if any will do. A weak or foreign tag matches none."""
    sent = request.headers.get("If-Match")
    if sent is None:
        return None
    tags = parse_etags(sent)
    if tags == ["*"]:
        return None
    numbers = [tag.strip('"') for tag in tags if tag.startswith('"')]
    return {int(number) for number in numbers if number.isascii() and number.isdigit() and len(number) < 10}
