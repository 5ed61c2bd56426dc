"""Idempotency-Key on every POST (IETF draft-ietf-httpapi-idempotency-key-header): the same request again is answered
again, and not done again."""

import json
from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.utils.timezone import now
from rest_framework import exceptions, serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from clinic import answers

HEADER = "Idempotency-Key"
LONGEST = 255
NOTHING_DONE = {"busy"}  # refusals that say "try again": the next try is a new one


class OtherRequest(exceptions.APIException):
    """The key was used for another request."""

    status_code = 422
    default_code = "key_reused"
    default_detail = f"This {HEADER} was used for another request. Take a new key for a new request."


def key_of(request: Request) -> str:
    """The key as it was sent, with or without the quotes of a structured field; "" if there is none."""
    if request.method != "POST" or HEADER not in request.headers:
        return ""
    key = request.headers[HEADER].strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 0 < len(key) <= LONGEST or not (key.isascii() and key.isprintable()):
        raise serializers.ValidationError({HEADER: f"Send 1 to {LONGEST} printable ASCII characters, such as a UUID."})
    return key


def once(
    view: APIView, key: str, step: Callable[..., Response], request: Request, *args: Any, **kwargs: Any
) -> Response:
    """Take the step and keep its answer in one commit, or answer as before."""
    caller = str(request.user.pk)
    request_hash = answers.hash_of(request.get_full_path().encode(), request.body)
    with transaction.atomic():
        answers.claim(caller, key)
        if kept := answers.find(caller, key, at=now()):
            if kept.request_hash != request_hash:
                raise OtherRequest
            etag = {"ETag": kept.etag} if kept.etag else {}
            return Response(json.loads(kept.body), status=kept.status, headers=etag)
        answer = _answer(view, step, request, *args, **kwargs)
        if answer.data.get("code") not in NOTHING_DONE:
            body = JSONRenderer().render(answer.data).decode()
            facts = {"status": answer.status_code, "body": body, "etag": answer.get("ETag", "")}
            answers.keep(caller, key, request_hash=request_hash, at=now(), **facts)
        return answer


def _answer(view: APIView, step: Callable[..., Response], request: Request, *args: Any, **kwargs: Any) -> Response:
    """A refusal takes back what the step had begun, and is an answer like any other. A bug is not, and crashes."""
    try:
        with transaction.atomic():
            return step(request, *args, **kwargs)
    except Exception as error:
        return view.handle_exception(error)
