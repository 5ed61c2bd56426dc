"""Pages that belong to the service itself: the front page, the two probes, the demo's inbox, and what is shown when
something cannot be."""

from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cache, wraps
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.cache import cache as shared_cache
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.dateparse import parse_datetime
from django.utils.timezone import now
from django.views import csrf, defaults
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from clinic import languages

INBOX_SHOWS = 200


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    return render(request, "clinic/home.html", {"demo": settings.DEMO})


@never_cache
@require_safe
def livez(request: HttpRequest) -> HttpResponse:
    """The process answers. Says nothing of what it depends on: a restart would not mend that."""
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """The service can do its work: send it requests. How long ago each sweep went through is for people to judge."""
    try:
        behind = _migrations_to_apply()
    except DatabaseError:
        return JsonResponse({"ready": False, "why": "The database does not answer."}, status=503)
    if behind:
        return JsonResponse({"ready": False, "why": "Migrations are waiting to be applied."}, status=503)
    return JsonResponse({"ready": True, "seconds_since_sweep": _seconds_since_sweep()})


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


def _seconds_since_sweep() -> dict[str, int | None]:
    try:
        beats = {name: shared_cache.get(f"last:{name}") for name in settings.CELERY_BEAT_SCHEDULE}
    except Exception:  # the cache only informs; each of its backends fails in a way of its own
        beats = dict.fromkeys(settings.CELERY_BEAT_SCHEDULE)
    at = now()
    return {name: int((at - parse_datetime(beat)).total_seconds()) if beat else None for name, beat in beats.items()}


@never_cache
@require_safe
def inbox(request: HttpRequest) -> HttpResponse:
    """Every e-mail the demo's mail server took, newest first."""
    files = _mail_files()
    mails = [_summary(file, _read(file)) for file in files[:INBOX_SHOWS]]
    return render(request, "clinic/inbox.html", {"mails": mails, "older": len(files) - len(mails)})


@never_cache
@require_safe
def inbox_mail(request: HttpRequest, key: str) -> HttpResponse:
    """One e-mail as plain text with its links alive. Its HTML is never put into a page of ours."""
    file = next((file for file in _mail_files() if file.name == key), None)
    if file is None:
        raise Http404
    mail = _read(file)
    body = mail.get_body(preferencelist=("plain",))
    context = {"mail": _summary(file, mail), "text": body.get_content() if body else ""}
    return render(request, "clinic/inbox_mail.html", context)


def _mail_files() -> list[Path]:
    if not settings.DEMO:
        raise Http404
    maildir = Path(settings.DEMO_MAILDIR)
    files = [*maildir.glob("new/*"), *maildir.glob("cur/*")]
    return sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)


def _read(file: Path) -> EmailMessage:
    return message_from_bytes(file.read_bytes(), policy=policy.default)


def _summary(file: Path, mail: EmailMessage) -> dict[str, Any]:
    return {
        "key": file.name,
        "to": str(mail["To"] or ""),
        "subject": str(mail["Subject"] or "(no subject)"),
        "at": datetime.fromtimestamp(file.stat().st_mtime, tz=UTC),
    }


def _as_the_browser_asks(page: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Whoever meets an error page may be a patient, and nobody knows which."""

    @wraps(page)
    def spoken(request: HttpRequest, *args: Any, **given: Any) -> HttpResponse:
        with languages.speaking_to(request):
            return page(request, *args, **given)

    return spoken


bad_request = _as_the_browser_asks(defaults.bad_request)
forbidden = _as_the_browser_asks(defaults.permission_denied)
not_found = _as_the_browser_asks(defaults.page_not_found)
failed = _as_the_browser_asks(defaults.server_error)
form_refused = _as_the_browser_asks(csrf.csrf_failure)
