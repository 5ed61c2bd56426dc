"""The patient's pages: no login, one secret link, one question a screen. A GET only shows; what a patient says is kept
by the POST of the page it was asked on, so a mail scanner that opens every link changes nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import wraps

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import translation
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from clinic import links
from clinic.models.links import Purpose
from followup import scoring, surveys
from followup.models import FollowUpEvent
from followup.models.alert import AlertKind
from followup.models.event import EventKind
from followup.states import EventStatus
from followup.surveys import Page, Standing

# The line in line.svg, in the picture's own pixels: what a browser without JavaScript sends is a place in it.
LINE_START, LINE_END = 8, 232
NOTHING = object()  # pressed "next" without an answer, which is not the same as skipping


@dataclass(frozen=True)
class Survey:
    """What every page of one survey needs."""

    token: str
    event: FollowUpEvent
    at: datetime

    def render(self, request: HttpRequest, name: str, *, status: int = 200, **context: object) -> HttpResponse:
        patient = self.event.episode.patient
        language = str(context.pop("language", translation.get_language()))
        given = {
            "token": self.token,
            "site": patient.site,
            "event": self.event,
            "alarm": self.event.alerts.filter(kind=AlertKind.RED_FLAG).exists(),
            "language": language,
            "direction": "rtl" if translation.get_language_info(_base(language))["bidi"] else "ltr",
        }
        return render(request, f"followup/survey/{name}.html", given | context, status=status)


View = Callable[..., HttpResponse]


def by_link(view: View) -> View:
    """Find the survey that a secret link opens; say kindly what happened if it cannot be answered now."""

    @never_cache
    @wraps(view)
    def guarded(request: HttpRequest, token: str, **place: int) -> HttpResponse:
        at = now()
        link = links.find(token, purpose=Purpose.SURVEY, at=at)
        event = surveys.dated(link.about_id) if link and link.about == FollowUpEvent._meta.label else None
        if event is None:
            return _private(render(request, "followup/survey/unknown.html", status=404))
        with translation.override(event.episode.patient.language):
            return _private(_answerable(view, request, Survey(token, event, at), place))

    return guarded


def _answerable(view: View, request: HttpRequest, survey: Survey, place: dict[str, int]) -> HttpResponse:
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


@require_safe
@by_link
def start(request: HttpRequest, survey: Survey, pages: tuple[Page, ...]) -> HttpResponse:
    answered = sum(page.answered for page in pages)
    first = next((page for page in pages if not page.answered), pages[-1])
    return survey.render(request, "start", pages=pages, answered=answered, first=first)


@require_http_methods(["GET", "HEAD", "POST"])
@by_link
def question(request: HttpRequest, survey: Survey, pages: tuple[Page, ...], number: int) -> HttpResponse:
    """One question. Kept as soon as it is answered; after the last one the survey is sent."""
    page = _page(pages, number)
    if page is None:
        return redirect("survey", token=survey.token)
    return _ask(request, survey, pages, page)


@require_http_methods(["GET", "HEAD", "POST"])
@by_link
def as_number(request: HttpRequest, survey: Survey, pages: tuple[Page, ...], number: int) -> HttpResponse:
    """The same question on the scale from 0 to 10, for who prefers to give a number."""
    page = _page(pages, number)
    if page is None or page.instead is None:
        return redirect("survey-question", token=survey.token, number=number)
    return _ask(request, survey, pages, page.instead)


def thanks(request: HttpRequest, survey: Survey) -> HttpResponse:
    """What a patient sees who has answered: also at every later visit, and whatever is pressed again."""
    rows = FollowUpEvent.objects.with_dates().filter(episode=survey.event.episode_id, status=EventStatus.OPEN)
    later = rows.exclude(kind=EventKind.MRI).filter(optimal_opens_on__gt=survey.at.date()).order_by("optimal_opens_on")
    return survey.render(request, "thanks", then=later.first())


def _ask(request: HttpRequest, survey: Survey, pages: tuple[Page, ...], page: Page) -> HttpResponse:
    problem = ""
    if request.method == "POST":
        value = _answer(request, page)
        if value is not NOTHING:
            try:
                return _keep(survey, pages, page, value)
            except surveys.BadAnswer:
                value = NOTHING
        problem = _("Please choose an answer, or skip this question.")
    return survey.render(
        request,
        "question",
        status=422 if problem else 200,
        language=page.instrument.language,
        page=page,
        last=all(other.answered for other in pages if other.number != page.number),
        earlier=page.number - 1,
        line=page not in pages,  # the number is asked where a line could be marked
        symptoms=page.instrument.scoring == "symptoms",
        problem=problem,
    )


def _keep(survey: Survey, pages: tuple[Page, ...], page: Page, value: object) -> HttpResponse:
    surveys.save_answer(
        survey.event,
        instrument=page.instrument.code,
        link_id=page.question.link_id,
        value=value,
        at=survey.at,
    )
    left = [other.number for other in pages if not other.answered and other.number != page.number]
    if not left:
        surveys.complete(survey.event, at=survey.at)
        return redirect("survey", token=survey.token)
    following = next((number for number in left if number > page.number), left[0])
    return redirect("survey-question", token=survey.token, number=following)


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
    if translation.get_language_info(_base(page.instrument.language))["bidi"]:
        x = LINE_START + LINE_END - x
    return scoring.vas_from_position(x, LINE_START, LINE_END)


def _page(pages: tuple[Page, ...], number: int) -> Page | None:
    return next((page for page in pages if page.number == number), None)


def _base(language: str) -> str:
    """A language that Django can name: the base of the tag, else English."""
    base = language.partition("-")[0].lower()
    try:
        translation.get_language_info(base)
    except KeyError:
        return "en"
    return base


def _private(response: HttpResponse) -> HttpResponse:
    response["X-Robots-Tag"] = "noindex, nofollow"
    return response
