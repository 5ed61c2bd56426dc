"""The pages on which a patient says, behind the secret link in a mail, that they will come, or that they need another
time. Looking changes nothing; each answer is a POST of the page that asked for it, about the time that page showed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import wraps

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.timezone import now
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from clinic import clock, doors, languages
from clinic.models import Link
from clinic.models.links import Purpose
from clinic.status import StepRefused
from scheduling import requests
from scheduling.models import Appointment
from scheduling.states import AppointmentStatus

PATIENT = "patient"  # who the trail says it was


@dataclass(frozen=True)
class Turn:
    """What every page about one visit needs."""

    slot: str
    link: Link
    appointment: Appointment
    at: datetime

    def render(self, request: HttpRequest, name: str, *, status: int = 200, **context: object) -> HttpResponse:
        visit = self.appointment
        given = {
            "slot": self.slot,
            "pass": doors.form_pass(self.link, at=self.at),
            "site": visit.site,
            "when": clock.spoken(visit.during.lower, visit.site.zone, languages.current()),
            "version": visit.version,
            "confirmed": visit.status == AppointmentStatus.CONFIRMED,
            "asked": requests.of(visit) is not None,
        }
        return render(request, f"scheduling/visit/{name}.html", given | context, status=status)


View = Callable[..., HttpResponse]


@require_safe
def enter(request: HttpRequest, token: str) -> HttpResponse:
    """The mailed address: its token is exchanged for a pass, and the patient goes on without it."""
    if chosen := doors.choose_language(request):
        return chosen
    return doors.exchange(request, token, purpose=Purpose.VISIT, page="visit-page", at=now())


def by_pass(view: View) -> View:
    """Find the visit whose pass this browser bears, and speak the patient's language. Once it has begun, or ended,
    there is nothing to say about it any more."""

    @csrf_exempt  # a POST is believed by the pass in its own form; see clinic.doors
    @wraps(view)
    def guarded(request: HttpRequest, slot: str) -> HttpResponse:
        if chosen := doors.choose_language(request):
            return chosen
        at = now()
        link = doors.bearer(request, slot, purpose=Purpose.VISIT, at=at)
        rows = Appointment.objects.select_related("episode__patient", "site")
        found = rows.filter(pk=link.about_id).first() if link else None
        if link is None or found is None:
            return doors.unknown(request)
        turn = Turn(slot, link, found, at)
        with doors.speaking(request, found.episode.patient.language):
            answer = view(request, turn) if _ahead(found, at) else turn.render(request, "over")
        return doors.private(doors.keep(answer, link, address=request.path, at=at))

    return guarded


def _ahead(appointment: Appointment, at: datetime) -> bool:
    return appointment.status in requests.COMING and appointment.during.lower > at


@require_safe
@by_pass
def visit(request: HttpRequest, turn: Turn) -> HttpResponse:
    """When it is and what we know; every answer leads back here."""
    return turn.render(request, "visit")


@require_http_methods(["POST"])
@by_pass
def come(request: HttpRequest, turn: Turn) -> HttpResponse:
    """I will come."""
    return _answer(request, turn, requests.come)


@require_http_methods(["GET", "HEAD", "POST"])
@by_pass
def move(request: HttpRequest, turn: Turn) -> HttpResponse:
    """I need another time: ask by GET, act by POST."""
    if request.method != "POST":
        return turn.render(request, "move")
    return _answer(request, turn, requests.ask_to_move)


def _answer(request: HttpRequest, turn: Turn, take: Callable[..., object]) -> HttpResponse:
    """A refusal is worded for the desk; the patient sees the visit as it is now, and whom to call."""
    shown = request.POST.get("version", "")
    try:
        take(turn.appointment, version=_number(shown), by=PATIENT, at=turn.at)
    except StepRefused:
        turn.appointment.refresh_from_db()
        return turn.render(request, "visit", status=409, problem=True)
    return redirect("visit-page", slot=turn.slot)


def _number(shown: str) -> int:
    """Which version of the visit the page showed; 0, which no visit has, if it does not say."""
    return int(shown) if shown.isascii() and shown.isdigit() and len(shown) < 9 else 0
