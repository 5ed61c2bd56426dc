"""The page on which a patient says what they want to hear from us, behind the secret link that is in every mail, and
the one click of a mail program's own "unsubscribe" (RFC 8058). Looking changes nothing."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from clinic import doors, links, optouts
from clinic.models import Category, Channel, Link, Patient
from clinic.models.links import Purpose

ONE_CLICK = ("List-Unsubscribe", "One-Click")


@dataclass(frozen=True)
class Way:
    """One way to reach the patient, and what may come by it."""

    channel: str
    title: str
    choices: list[tuple[str, str, bool]]


@require_safe
def enter(request: HttpRequest, token: str) -> HttpResponse:
    """The mailed address: its token is exchanged for a pass, and the patient goes on without it."""
    if chosen := doors.choose_language(request):
        return chosen
    return doors.exchange(request, token, purpose=Purpose.STOP, page="preferences-page", at=now())


@csrf_exempt  # the mail program's server sends it, and bears no cookie; the token in the address is what is believed
@require_http_methods(["GET", "HEAD", "POST"])
def one_click(request: HttpRequest, token: str, category: str) -> HttpResponse:
    """A POST that says "One-Click" stops e-mail of this category; whoever merely looks gets the page to choose on."""
    if request.method != "POST":
        return enter(request, token)
    at = now()
    link = links.find(token, purpose=Purpose.STOP, at=at)
    patient = _patient(link)
    if patient is None or category not in Category.values:
        return doors.private(HttpResponse(status=404))
    if request.POST.get(ONE_CLICK[0]) != ONE_CLICK[1]:
        return doors.private(HttpResponse(status=400))
    optouts.stop(patient, channel=Channel.EMAIL, category=category, by=optouts.BY_PATIENT, at=at)
    return doors.private(HttpResponse())


@csrf_exempt  # a POST is believed by the pass in its own form; see clinic.doors
@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest, slot: str) -> HttpResponse:
    """What comes, by which way; ticked is wanted."""
    if chosen := doors.choose_language(request):
        return chosen
    at = now()
    link = doors.bearer(request, slot, purpose=Purpose.STOP, at=at)
    patient = _patient(link)
    if link is None or patient is None:
        return doors.unknown(request)
    with doors.speaking(request, patient.language):
        answer = _answer(request, slot, link, patient, at=at)
    return doors.private(doors.keep(answer, link, address=request.path, at=at))


def _answer(request: HttpRequest, slot: str, link: Link, patient: Patient, *, at: datetime) -> HttpResponse:
    if request.method == "POST":
        for channel in _channels(patient):
            nothing = request.POST.get("nothing") == channel
            wanted = set() if nothing else set(request.POST.getlist(channel)) & set(Category.values)
            if nothing or "nothing" not in request.POST:
                optouts.choose(patient, channel=channel, wanted=wanted, by=optouts.BY_PATIENT, at=at)
        return redirect(f"{reverse('preferences-page', args=[slot])}?saved=1")
    context = {
        "slot": slot,
        "pass": doors.form_pass(link, at=at),
        "site": patient.site,
        "ways": [_way(patient, channel) for channel in _channels(patient)],
        "saved": "saved" in request.GET,
    }
    return render(request, "clinic/preferences.html", context)


def _channels(patient: Patient) -> list[str]:
    """Texts are offered to choose where this clinic sends any, or the patient has said no to them before."""
    has_texts = settings.SMS_LINE != "clinic.sms.Nobody" or patient.optouts.filter(channel=Channel.SMS).exists()
    return [Channel.EMAIL, Channel.SMS] if has_texts else [Channel.EMAIL]


def _way(patient: Patient, channel: str) -> Way:
    title = gettext("By text message") if channel == Channel.SMS else gettext("By e-mail")
    wanted = optouts.wanted_of(patient, channel=channel)
    return Way(channel, title, [(value, str(label), value in wanted) for value, label in Category.choices])


def _patient(link: Link | None) -> Patient | None:
    return Patient.objects.select_related("site").filter(pk=link.about_id).first() if link else None
