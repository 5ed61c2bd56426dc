"""The patient's pages: no login, one secret link, one question a screen. A GET only shows; what a patient says is kept
by the POST of the page it was asked on, so a mail scanner that opens every link changes nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import wraps

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from clinic import doors, languages
from clinic.models import Link
from clinic.models.links import Purpose
from followup import expected, scoring, surveys
from followup.models import FollowUpEvent
from followup.models.alert import AlertKind
from followup.surveys import Page, Standing

# The line in line.svg, in the picture's own pixels: what a browser without JavaScript sends is a place in it.
LINE_START, LINE_END = 8, 232
NOTHING = object()  # pressed "next" without an answer, which is not the same as skipping


@dataclass(frozen=True)
class Survey:
    """What every page of one survey needs."""

    slot: str
    link: Link
    event: FollowUpEvent
    at: datetime

    def render(self, request: HttpRequest, name: str, *, status: int = 200, **context: object) -> HttpResponse:
        given = {
            "slot": self.slot,
            "pass": doors.form_pass(self.link, at=self.at),
            "site": self.event.episode.patient.site,
            "event": self.event,
            "alarm": self.event.alerts.filter(kind=AlertKind.RED_FLAG).exists(),
        }
        return render(request, f"followup/survey/{name}.html", given | context, status=status)


View = Callable[..., HttpResponse]


@require_safe
def enter(request: HttpRequest, token: str) -> HttpResponse:
    """The mailed address: its token is exchanged for a pass, and the patient goes on without it."""
    if chosen := doors.choose_language(request):
        return chosen
    return doors.exchange(request, token, purpose=Purpose.SURVEY, page="survey-start", at=now())


def by_pass(view: View) -> View:
    """Find the survey whose pass this browser bears, and speak the patient's language."""

    @csrf_exempt  # a POST is believed by the pass in its own form; see clinic.doors
    @wraps(view)
    def guarded(request: HttpRequest, slot: str, **place: int) -> HttpResponse:
        if chosen := doors.choose_language(request):
            return chosen
        at = now()
        link = doors.bearer(request, slot, purpose=Purpose.SURVEY, at=at)
        event = surveys.dated(link.about_id) if link and link.about == FollowUpEvent._meta.label else None
        if link is None or event is None:
            return doors.unknown(request)
        with doors.speaking(request, event.episode.patient.language):
            answer = view(request, Survey(slot, link, event, at), **place)
        return doors.private(doors.keep(answer, link, address=request.path, at=at))

    return guarded


def while_open(view: View) -> View:
    """Say kindly why it cannot be answered now; else hand on the questions."""

    @wraps(view)
    def guarded(request: HttpRequest, survey: Survey, **place: int) -> HttpResponse:
        standing = surveys.standing(survey.event, at=survey.at)
        if standing is Standing.DONE:
            return thanks(request, survey)
        if standing is Standing.EARLY:
            return survey.render(request, "early")
        if standing is Standing.OVER:
            return survey.render(request, "over", status=410)
        try:
            return view(request, survey, surveys.open_for(survey.event, at=survey.at), **place)
        except surveys.SurveyClosed:  # it closed between two lines, or there is no wording to ask in
            return survey.render(request, "over", status=410)

    return guarded


@require_safe
@by_pass
@while_open
def start(request: HttpRequest, survey: Survey, pages: tuple[Page, ...]) -> HttpResponse:
    answered = sum(page.answered for page in pages)
    first = next((page for page in pages if not page.answered), pages[-1])
    return survey.render(request, "start", pages=pages, answered=answered, first=first)


@require_http_methods(["GET", "HEAD", "POST"])
@by_pass
@while_open
def question(request: HttpRequest, survey: Survey, pages: tuple[Page, ...], number: int) -> HttpResponse:
    """One question. Kept as soon as it is answered; after the last one the survey is sent."""
    page = _page(pages, number)
    if page is None:
        return redirect("survey-start", slot=survey.slot)
    return _ask(request, survey, pages, page)


@require_http_methods(["GET", "HEAD", "POST"])
@by_pass
@while_open
def as_number(request: HttpRequest, survey: Survey, pages: tuple[Page, ...], number: int) -> HttpResponse:
    """The same question on the scale from 0 to 10, for who prefers to give a number."""
    page = _page(pages, number)
    if page is None or page.instead is None:
        return redirect("survey-question", slot=survey.slot, number=number)
    return _ask(request, survey, pages, page.instead)


@require_safe
@by_pass
def dates(request: HttpRequest, survey: Survey) -> HttpResponse:
    """What comes when, on this patient's calendar."""
    episode = survey.event.episode
    return survey.render(
        request,
        "dates",
        episode=episode,
        ahead=expected.ahead(episode, at=survey.at),
        advice=expected.advice(episode, at=survey.at),
    )


def thanks(request: HttpRequest, survey: Survey) -> HttpResponse:
    """What a patient sees who has answered: also at every later visit, and whatever is pressed again."""
    return survey.render(request, "thanks", then=expected.next_questions(survey.event.episode, at=survey.at))


def _ask(request: HttpRequest, survey: Survey, pages: tuple[Page, ...], page: Page) -> HttpResponse:
    problem = ""
    if request.method == "POST":
        value = _answer(request, page)
        if value is not NOTHING:
            try:
                return _keep(request, survey, pages, page, value)
            except surveys.BadAnswer:
                value = NOTHING
        problem = _("Please choose an answer, or skip this question.")
    return survey.render(
        request,
        "question",
        status=422 if problem else 200,
        wording={"lang": page.instrument.language, "dir": languages.direction(page.instrument.language)},
        page=page,
        last=all(other.answered for other in pages if other.number != page.number),
        earlier=page.number - 1,
        line=page not in pages,  # the number is asked where a line could be marked
        symptoms=page.instrument.scoring == "symptoms",
        problem=problem,
    )


def _keep(request: HttpRequest, survey: Survey, pages: tuple[Page, ...], page: Page, value: object) -> HttpResponse:
    surveys.save_answer(
        survey.event,
        instrument=page.instrument.code,
        link_id=page.question.link_id,
        value=value,
        at=survey.at,
        input_mode=_input_mode(request, page),
    )
    if "keep" in request.POST:  # survey.js keeps what is marked; the patient is still on the page
        return JsonResponse({"kept": True})
    left = [other.number for other in pages if not other.answered and other.number != page.number]
    if not left:
        surveys.complete(survey.event, at=survey.at)
        following = redirect("survey-start", slot=survey.slot)
    else:
        number = next((number for number in left if number > page.number), left[0])
        following = redirect("survey-question", slot=survey.slot, number=number)
    by_script = request.headers.get("Accept") == "application/json"
    return JsonResponse({"kept": True, "next": following.url}) if by_script else following


def _answer(request: HttpRequest, page: Page) -> object:
    """What was pressed: None for "skip", NOTHING if no answer can be made of it."""
    if "skip" in request.POST:
        return None
    if "line.x" in request.POST:
        return _place_on_line(request, page)
    given = request.POST.get("answer", "")
    if page.question.kind == "yes_no":
        return {"yes": True, "no": False}.get(given, NOTHING)
    return int(given) if given.isascii() and given.isdigit() and len(given) <= 3 else NOTHING


def _place_on_line(request: HttpRequest, page: Page) -> object:
    """A touch on the picture of the line. A browser whose picture is pressed by a key sends its corner: no answer."""
    try:
        x, y = int(request.POST["line.x"]), int(request.POST.get("line.y", "0"))
    except ValueError:
        return NOTHING
    if page.question.kind != "line" or (x, y) == (0, 0):
        return NOTHING
    if languages.direction(page.instrument.language) == "rtl":
        x = LINE_START + LINE_END - x
    return scoring.vas_from_position(x, LINE_START, LINE_END)


def _input_mode(request: HttpRequest, page: Page) -> str:
    """How a pain scale was answered: on the line, on its picture, or by a number."""
    if page.question.kind == "line":
        return "picture" if "line.x" in request.POST else "line"
    return "number" if page.question.kind == "number" else ""


def _page(pages: tuple[Page, ...], number: int) -> Page | None:
    return next((page for page in pages if page.number == number), None)
