"""Pages that belong to the service itself: the front page, the demo's inbox, and what is shown when something cannot
be."""

from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import wraps
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
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
