"""How a patient comes in by a secret link, and in which language. The token in the mailed address is exchanged once for
a pass that only the browser keeps and an address that tells nothing; every page asks the database whether the link
still stands. Looking leaves no row behind (`docs/decisions/0019-a-link-is-exchanged-at-the-door.md`)."""

from contextlib import AbstractContextManager
from datetime import datetime, timedelta

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from clinic import languages, links
from clinic.models import Link

FIELD = "pass"
PASS_FOR = timedelta(hours=4)  # from the last page that was seen
CHOICE_FOR = timedelta(days=365)  # how long a browser remembers the language that was chosen in it


def exchange(request: HttpRequest, token: str, *, purpose: str, page: str, at: datetime) -> HttpResponse:
    """Let in who brings a token: to `page`, whose address is clean. One question to the database, found or not."""
    link = links.find(token, purpose=purpose, at=at)
    if link is None:
        return unknown(request)
    address = reverse(page, args=[links.slot_of(link)])
    return private(keep(redirect(address), link, address=address, at=at))


def bearer(request: HttpRequest, slot: str, *, purpose: str, at: datetime) -> Link | None:
    """The link whose pass this browser bears: in its cookie to look; to act in the form itself, where no other site can
    have put it."""
    if request.method == "POST":
        link = links.borne(request.POST.get(FIELD, ""), use="form", purpose=purpose, at=at)
    else:
        link = links.borne(request.COOKIES.get(_cookie(slot), ""), use="cookie", purpose=purpose, at=at)
    return link if link and links.slot_of(link) == slot else None


def form_pass(link: Link, *, at: datetime) -> str:
    """What a form carries so that its POST is believed."""
    return links.pass_for(link, use="form", until=at + PASS_FOR)


def keep(response: HttpResponse, link: Link, *, address: str, at: datetime) -> HttpResponse:
    """Give the browser its pass, for the pages of this link alone: two surveys that are open at once never mix."""
    slot = links.slot_of(link)
    response.set_cookie(
        _cookie(slot),
        links.pass_for(link, use="cookie", until=at + PASS_FOR),
        max_age=PASS_FOR,
        path=f"{address.partition(slot)[0]}{slot}/",
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
    return response


def unknown(request: HttpRequest) -> HttpResponse:
    """No link, an old one, or a pass that has run out: all the same to whoever asks, and kindly said."""
    with speaking(request):
        status = 403 if request.method == "POST" else 404
        return private(render(request, "clinic/unknown.html", status=status))


def private(response: HttpResponse) -> HttpResponse:
    """Not kept, not indexed, and not told to any site that something on the page might lead to."""
    response["Cache-Control"] = "no-store, private"
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex, nofollow"
    return response


def speaking(request: HttpRequest, own: str = "") -> AbstractContextManager[None]:
    """In the language that was chosen in this browser, else the patient's own; to a stranger as their browser asks."""
    chosen = request.COOKIES.get(settings.LANGUAGE_COOKIE_NAME, "")
    if chosen in dict(settings.LANGUAGES):
        return languages.speaking(chosen)
    return languages.speaking(own) if own else languages.speaking_to(request)


def choose_language(request: HttpRequest) -> HttpResponse | None:
    """The answer to a press on another language: the same page again. Only a cookie remembers it."""
    chosen = request.GET.get("lang", "")
    if chosen not in dict(settings.LANGUAGES):
        return None
    response = redirect(request.path)
    response.set_cookie(
        settings.LANGUAGE_COOKIE_NAME,
        chosen,
        max_age=CHOICE_FOR,
        path=f"/{request.path.split('/')[1]}/",  # the patient's pages only: the desk stays as it is
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
    return private(response)


def _cookie(slot: str) -> str:
    return f"{FIELD}-{slot}"
