"""What machines ask this service about itself, and nothing of a patient: whether the process is alive, whether it can
work, whether messages still go out, and figures for Prometheus. docs/running.md says what to do about each answer."""

from functools import cache
from hmac import compare_digest
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.timezone import now
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from clinic import heartbeats, metrics

NO_DATABASE = "The database does not answer."


@never_cache
@require_safe
def livez(request: HttpRequest) -> HttpResponse:
    """The process answers. Says nothing of what it depends on: a restart would not mend that."""
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """This process can do its work: send it requests."""
    try:
        behind = _migrations_to_apply()
    except DatabaseError:
        return JsonResponse({"ready": False, "why": NO_DATABASE}, status=503)
    if behind:
        return JsonResponse({"ready": False, "why": "Migrations are waiting to be applied."}, status=503)
    return JsonResponse({"ready": True})


def _migrations_to_apply() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    try:
        _all_applied()
    except LookupError:
        return True
    return False


@cache
def _all_applied() -> None:
    """Once true of a process it stays true, and only a true answer is remembered: asking again costs 50 ms."""
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise LookupError


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Messages still go out: the dispatcher has swept lately. Asks the database alone, so it tells the truth while the
    broker is down. Other sweeps that are silent are named; only the dispatcher's silence is a 503."""
    try:
        heard = heartbeats.listen()
    except DatabaseError:
        return JsonResponse({"healthy": False, "why": NO_DATABASE}, status=503)
    healthy = not heard.dispatcher.silent
    told: dict[str, Any] = {"healthy": healthy, "silent": [_told(pulse) for pulse in heard.silent]}
    if not healthy:
        told["why"] = heartbeats.STANDS_STILL
    told["heartbeats"] = {pulse.name: _seconds(pulse) for pulse in heard.pulses}
    return JsonResponse(told, status=200 if healthy else 503)


def _told(pulse: heartbeats.Pulse) -> dict[str, Any]:
    since = pulse.beat_at.isoformat(timespec="seconds") if pulse.beat_at else None
    return {"name": pulse.name, "since": since, "seconds": _seconds(pulse)}


def _seconds(pulse: heartbeats.Pulse) -> int | None:
    return None if pulse.beat_at is None else round(pulse.silence.total_seconds())


@never_cache
@require_safe
def figures(request: HttpRequest) -> HttpResponse:
    """/metrics, for whoever brings the token of the settings."""
    if not settings.METRICS_TOKEN:
        return _refused("Nobody may read this: METRICS_TOKEN is not set.\n", status=403)
    if not _brings_the_token(request):
        return _refused("Send METRICS_TOKEN as a bearer token.\n", status=401)
    try:
        told = generate_latest(metrics.registry(at=now()))
    except DatabaseError:
        return _refused(f"{NO_DATABASE}\n", status=503)
    return HttpResponse(told, content_type=CONTENT_TYPE_LATEST)


def _brings_the_token(request: HttpRequest) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    expected = settings.METRICS_TOKEN.encode()
    return scheme.lower() == "bearer" and compare_digest(token.strip().encode(), expected)


def _refused(words: str, *, status: int) -> HttpResponse:
    response = HttpResponse(words, content_type="text/plain", status=status)
    if status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="metrics"'
    return response
