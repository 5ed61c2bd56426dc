"""Finding a time: for a visit of a treatment, for the MRI of a follow-up, or for an appointment that must move. Looking
changes nothing; the POST holds, books or moves. A move first shows which follow-up dates go with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.contrib.admin import site as desk
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from clinic import clock
from clinic.admin import show
from clinic.admin.pages import DateInput
from clinic.admin.steps import StepAction, add_steps
from clinic.status import StepRefused
from followup import imaging, schedule
from followup.models import FollowUpEvent
from followup.models.event import EventKind
from scheduling import bookings
from scheduling.admin.appointments import named
from scheduling.admin.options import Offer, add_consequence, offers, unseal
from scheduling.models import Appointment, Episode, Resource
from scheduling.models.protocol import ResourceKind, StepCode, Visit
from scheduling.models.resource import Weekday
from scheduling.search import HalfDay
from scheduling.states import APPOINTMENT_AHEAD

OFFERED = 12
EVERY_TIME = 1000  # of a window of weeks: the nearest to the due date are chosen among all of them


class SearchForm(forms.Form):
    """Where to look. It is sent by GET: looking changes nothing."""

    visit = forms.ChoiceField(choices=Visit.choices, widget=forms.HiddenInput)
    event = forms.UUIDField(required=False, widget=forms.HiddenInput)
    move = forms.UUIDField(required=False, widget=forms.HiddenInput)
    earliest = forms.DateField(label="Not before", widget=DateInput)
    latest = forms.DateField(label="Not after", widget=DateInput, required=False, help_text="Empty: 60 days on.")
    weekday = forms.TypedMultipleChoiceField(
        label="Only on",
        choices=Weekday.choices[:5],
        coerce=int,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="None ticked: any day.",
    )
    half_day = forms.ChoiceField(
        label="Arriving", choices=[("", "At any time of day"), *HalfDay.choices], required=False
    )
    people = forms.ModelMultipleChoiceField(
        Resource.objects.none(),
        label="With",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="None ticked: whoever is free.",
    )
    option = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args, site, **kwargs):
        super().__init__(*args, **kwargs)
        doctors = Resource.objects.filter(site=site, kind=ResourceKind.INTERVENTIONALIST, active=True)
        self.fields["people"].queryset = doctors.order_by("name")


@dataclass
class Quest:
    """What is looked for: a visit of `episode`, perhaps for `event`, perhaps to replace the time of `moving`."""

    episode: Episode
    visit: str
    event: FollowUpEvent | None = None
    moving: Appointment | None = None

    @cached_property
    def dates(self) -> FollowUpEvent | None:
        """The days on which an MRI counts: a search never leaves them."""
        row = self.event
        if row is None and self.moving:
            row = FollowUpEvent.objects.filter(appointment=self.moving).first()
        if row is None:
            return None
        dated = FollowUpEvent.objects.with_dates().select_related("episode__patient__site", "episode__protocol")
        dated = dated.get(pk=row.pk)
        return dated if dated.due_on else None

    @property
    def title(self) -> str:
        what = Visit(self.visit).label
        return f"When can the {lower(what)} move to?" if self.moving else f"When is there time for the {lower(what)}?"


def lower(label: str) -> str:
    return label if label[:2].isupper() else label[0].lower() + label[1:]


def address(episode_pk: Any, **query: Any) -> str:
    return f"{reverse('admin:scheduling_episode_find', args=[episode_pk])}?{urlencode(query)}"


def page_for(visit: str):
    return lambda episode: address(episode.pk, visit=visit)


def page_for_event(event: FollowUpEvent) -> str:
    return address(event.episode_id, visit=Visit.MRI, event=event.pk)


def page_for_move(appointment: Appointment) -> str:
    return address(appointment.episode_id, visit=appointment.visit, move=appointment.pk)


def find_a_time(request, object_id):
    episode = Episode.objects.visible_to(request.user).select_related("patient__site", "protocol").filter(pk=object_id)
    episode = episode.first()
    if episode is None:
        raise Http404("There is no such treatment.")
    if not request.user.has_perm("scheduling.add_appointment"):
        raise PermissionDenied
    with timezone.override(episode.patient.site.zone):
        return look_or_take(request, episode)


def look_or_take(request, episode):
    at = timezone.now()
    several = {name: request.GET.getlist(name) for name in ("weekday", "people")}
    form = SearchForm({**first_answers(episode, at), **request.GET.dict(), **several}, site=episode.patient.site)
    if not form.is_valid():
        if form.errors.keys() & {"visit", "event", "move"}:
            raise Http404("There is no such visit.")
        return render(request, "admin/desk/find.html", context_for(request, episode, form, None, at))
    quest = quest_of(episode, form.cleaned_data)
    if request.method == "POST" and (response := take(request, quest, at)):
        return response
    return render(request, "admin/desk/find.html", context_for(request, episode, form, quest, at))


def first_answers(episode, at):
    tomorrow = clock.local_date(at, episode.patient.site.zone)
    return {"earliest": tomorrow.isoformat()}


def quest_of(episode, asked) -> Quest:
    event = FollowUpEvent.objects.filter(pk=asked["event"], episode=episode, kind=EventKind.MRI).first()
    moving = Appointment.objects.filter(pk=asked["move"], episode=episode).select_related("site").first()
    if (asked["event"] and event is None) or (asked["move"] and moving is None):
        raise Http404("There is no such appointment.")
    return Quest(episode=episode, visit=moving.visit if moving else asked["visit"], event=event, moving=moving)


def search(quest: Quest, asked, at) -> tuple[list[Offer], str, Sequence[str]]:
    """What fits, or the sentence that says why nothing does and who has the bottleneck."""
    earliest = max(asked["earliest"], clock.local_date(at, quest.episode.patient.site.zone))
    latest = asked["latest"]
    if dates := quest.dates:
        earliest, latest = max(earliest, dates.opens_on), min(latest or dates.closes_on, dates.closes_on)
        if latest < earliest:
            counts = f"{show.day(dates.opens_on)} to {show.day(dates.closes_on)}"
            return [], f"The MRI counts from {counts}, and not on these days.", ()
    try:
        found = bookings.find(
            quest.episode,
            visit=quest.visit,
            earliest=earliest,
            latest=latest,
            weekdays=asked["weekday"] or None,
            half_day=asked["half_day"] or None,
            people=[resource.pk for resource in asked["people"]],
            ignore=quest.moving,
            at=at,
            limit=EVERY_TIME if dates else OFFERED,
        )
    except StepRefused as refused:
        return [], str(refused), ()
    if found.shortage:
        return [], found.shortage.sentence, found.shortage.blocking
    zone = quest.episode.patient.site.zone
    if dates:
        nearest = schedule.nearest_first(found.options, dates, zone=zone)[:OFFERED]
        return offers([option for option, _ in nearest], zone, reasons=[why for _, why in nearest]), "", ()
    return offers(found.options, zone, reasons=found.reasons), "", ()


def context_for(request, episode, form, quest, at) -> dict[str, Any]:
    found, shortage, blocking = search(quest, form.cleaned_data, at) if quest else ([], "", ())
    chosen = form.cleaned_data.get("option") if quest and quest.moving else ""
    back = show.page_of(quest.moving if quest and quest.moving else episode)
    return {
        **desk.each_context(request),
        "title": quest.title if quest else "When is there time?",
        "episode": episode,
        "quest": quest,
        "form": form,
        "offers": [(offer, choice(request, offer)) for offer in found],
        "shortage": shortage,
        "blocking": blocking,
        "window": window_of(quest, at) if quest else "",
        "chosen": preview(quest, chosen) if chosen else None,
        "now": named(quest.moving) if quest and quest.moving else "",
        "back": back,
        "here": request.get_full_path(),
    }


def choice(request, offer: Offer) -> str:
    """The address that shows what choosing this time brings with it."""
    query = request.GET.copy()
    query["option"] = offer.sealed
    return f"{request.path}?{query.urlencode()}"


def window_of(quest: Quest, at) -> str:
    """Between which days an MRI counts, and which of them the clinic's calendar suggests, in words."""
    event = quest.dates
    if event is None:
        return ""
    return (
        f"{event.name}: due {show.day(event.due_on)}. Best between {show.day(event.optimal_opens_on)} and "
        f"{show.day(event.optimal_closes_on)}; it counts from {show.day(event.opens_on)} to "
        f"{show.day(event.closes_on)}. Suggested: {schedule.said(event, schedule.suggest(event, at=at))}"
    ).rstrip(".") + "."


@dataclass
class Preview:
    """What a move brings with it: every open follow-up event, old and new."""

    offer: Offer
    rows: Sequence[schedule.Redated]

    @property
    def consequence(self) -> str:
        return schedule.consequence(self.rows)


def preview(quest: Quest, sealed: str) -> Preview | None:
    """The follow-up dates before and after the move, and the MRIs that would fall out of their window."""
    try:
        option = unseal(sealed)
    except StepRefused:
        return None
    after = injection_start(option) if quest.visit == Visit.PROCEDURE else None
    rows = schedule.preview(quest.episode, anchor_at=after) if after else ()
    return Preview(offer=offers([option], quest.episode.patient.site.zone)[0], rows=rows)


def brings(appointment: Appointment, option) -> str:
    """What it would change after the injection if this visit went there: for other pages that offer times."""
    if appointment.visit == Visit.PROCEDURE and (after := injection_start(option)):
        return schedule.consequence(schedule.preview(appointment.episode, anchor_at=after))
    event = FollowUpEvent.objects.with_dates().filter(appointment=appointment).first()
    on = clock.local_date(option.start, appointment.site.zone)
    if event is None or event.due_on is None or event.opens_on <= on <= event.closes_on:
        return ""
    return f"{event.name} would not count: it counts from {show.day(event.opens_on)} to {show.day(event.closes_on)}."


add_consequence(brings)


def injection_start(option):
    return next((step.start for step in option.steps if step.code == StepCode.INJECTION), None)


def take(request, quest: Quest, at):
    """Hold, book or move; None if it was refused, and the page says why."""
    who_and_when = {"by": request.user.get_username(), "at": at}
    try:
        option = unseal(request.POST.get("option", ""))
        if quest.moving:
            reason = request.POST.get("reason", "").strip()
            row = bookings.move(quest.moving, option=option, reason=reason, seen=seen(request), **who_and_when)
            words = f"Moved: {named(row)}. The patient is told by e-mail; the follow-up dates moved with it."
        elif quest.event:
            row = imaging.book(quest.event, option=option, **who_and_when).appointment
            words = f"Booked: {named(row)}. The patient is told by e-mail."
            if warning := imaging.scanner_warning(imaging.scans().get(pk=quest.event.pk)):
                messages.warning(request, warning)
        elif request.POST.get("act") == "hold":
            row = bookings.hold(quest.episode, visit=quest.visit, option=option, **who_and_when)
            words = (
                f"Held until {show.when(row.held_until, row.site.zone)}: {named(row)}. Next: book it, or let it lapse."
            )
        else:
            row = bookings.book_at(quest.episode, visit=quest.visit, option=option, **who_and_when)
            words = f"Booked: {named(row)}. The patient is told by e-mail."
    except StepRefused as refused:
        messages.error(request, str(refused))
        return None
    messages.success(request, words)
    return HttpResponseRedirect(show.page_of(row))


def seen(request):
    """Which state of the appointment the page showed."""
    revision = request.POST.get("seen", "")
    return {int(revision)} if revision.isascii() and revision.isdigit() and len(revision) < 10 else None


add_steps(
    Appointment,
    StepAction(
        name="move",
        label="Move to another time",
        page=page_for_move,
        available=lambda appointment: appointment.status in APPOINTMENT_AHEAD,
    ),
)
