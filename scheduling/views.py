"""What opens by a secret link without a login: a calendar, and the pages on which a patient answers an offer off the
waitlist. Looking changes nothing; an answer is a POST of the page that asked for it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import wraps

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.cache import get_conditional_response
from django.utils.timezone import now
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from clinic import clock, doors, languages, links
from clinic.models import Link
from clinic.models.links import Purpose
from clinic.status import StepRefused
from scheduling import feeds, waitlist
from scheduling.models import WaitlistOffer
from scheduling.states import OfferStatus, WaitlistStatus

PATIENT = "patient"  # who the trail says it was


@require_safe
def feed(request: HttpRequest, token: str) -> HttpResponse:
    at = now()
    link = links.find(token, purpose=Purpose.FEED, at=at)
    calendar = link and feeds.calendar(link, at=at)
    if calendar is None:
        raise Http404
    answer = HttpResponse(calendar, content_type="text/calendar; charset=utf-8")
    answer.headers["ETag"] = feeds.etag(calendar)
    # Each poll asks again, and mostly gets a 304; no cache on the way may keep the page behind a secret address.
    answer.headers["Cache-Control"] = "private, max-age=0, must-revalidate"
    answer.headers["X-Robots-Tag"] = "noindex"
    return get_conditional_response(request, etag=answer.headers["ETag"], response=answer)


# An offer off the waitlist


@dataclass(frozen=True)
class Turn:
    """What every page about one offer needs."""

    slot: str
    link: Link
    offer: WaitlistOffer
    at: datetime

    def render(self, request: HttpRequest, name: str, *, status: int = 200, **context: object) -> HttpResponse:
        site, language = self.offer.freed.site, languages.current()
        has = waitlist.booked(self.offer.entry.episode, self.offer.entry.visit)
        given = {
            "slot": self.slot,
            "pass": doors.form_pass(self.link, at=self.at),
            "site": site,
            "standing": waitlist.standing(self.offer, at=self.at),
            "waits": self.offer.entry.status == WaitlistStatus.WAITING,
            "left": self.offer.entry.status == WaitlistStatus.LEFT,
            "when": clock.spoken(self.offer.during.lower, site.zone, language),
            "until": clock.spoken(self.offer.until, site.zone, language),
            "has": clock.spoken(has.during.lower, site.zone, language) if has else "",
        }
        return render(request, f"scheduling/waitlist/{name}.html", given | context, status=status)


View = Callable[..., HttpResponse]


@require_safe
def enter(request: HttpRequest, token: str, page: str) -> HttpResponse:
    """The mailed address: its token is exchanged for a pass, and the patient goes on without it."""
    if chosen := doors.choose_language(request):
        return chosen
    return doors.exchange(request, token, purpose=Purpose.WAITLIST, page=page, at=now())


def by_pass(view: View) -> View:
    """Find the offer whose pass this browser bears, and speak the patient's language."""

    @csrf_exempt  # a POST is believed by the pass in its own form; see clinic.doors
    @wraps(view)
    def guarded(request: HttpRequest, slot: str) -> HttpResponse:
        if chosen := doors.choose_language(request):
            return chosen
        at = now()
        link = doors.bearer(request, slot, purpose=Purpose.WAITLIST, at=at)
        related = ("entry__episode__patient", "freed__site", "held")
        rows = WaitlistOffer.objects.select_related(*related).exclude(status=OfferStatus.PASSED)
        found = rows.filter(pk=link.about_id).first() if link else None
        if link is None or found is None:
            return doors.unknown(request)
        with doors.speaking(request, found.entry.episode.patient.language):
            answer = view(request, Turn(slot, link, found, at))
        return doors.private(doors.keep(answer, link, address=request.path, at=at))

    return guarded


@require_safe
@by_pass
def offer(request: HttpRequest, turn: Turn) -> HttpResponse:
    """Where the offer stands; every answer leads back here."""
    return turn.render(request, "offer")


@require_http_methods(["GET", "HEAD", "POST"])
@by_pass
def accept(request: HttpRequest, turn: Turn) -> HttpResponse:
    return _answer(request, turn, "accept", lambda: waitlist.accept(turn.offer, by=PATIENT, at=turn.at))


@require_http_methods(["GET", "HEAD", "POST"])
@by_pass
def decline(request: HttpRequest, turn: Turn) -> HttpResponse:
    return _answer(request, turn, "decline", lambda: waitlist.decline(turn.offer, by=PATIENT, at=turn.at))


@require_http_methods(["GET", "HEAD", "POST"])
@by_pass
def leave(request: HttpRequest, turn: Turn) -> HttpResponse:
    """Off the list for good; that works as long as the patient is on it, whatever became of the offer."""
    if turn.offer.entry.status != WaitlistStatus.WAITING:
        return turn.render(request, "offer")
    return _ask(request, turn, "leave", lambda: waitlist.leave(turn.offer.entry, by=PATIENT, at=turn.at))


def _answer(request: HttpRequest, turn: Turn, page: str, take: Callable[[], object]) -> HttpResponse:
    if waitlist.standing(turn.offer, at=turn.at) != OfferStatus.OPEN:
        return turn.render(request, "offer")
    return _ask(request, turn, page, take)


def _ask(request: HttpRequest, turn: Turn, page: str, take: Callable[[], object]) -> HttpResponse:
    """Ask by GET, act by POST. A refusal is worded for the desk; the patient is told whom to call."""
    if request.method == "POST":
        try:
            take()
        except StepRefused:
            return turn.render(request, page, status=409, problem=True)
        return redirect("offer", slot=turn.slot)
    return turn.render(request, page)
