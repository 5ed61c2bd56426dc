"""What is due for one treatment, and when: on its page, on a sheet to print, and as a file. Looking changes nothing."""

from django.contrib.admin import site as desk
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from clinic.admin import show
from clinic.admin.files import csv_file
from followup import schedule
from followup.models import FollowUpEvent
from followup.states import EventStatus
from scheduling.models import Episode

COLUMNS = (
    "time_point",
    "kind",
    "due_on",
    "best_from",
    "best_until",
    "counts_from",
    "counts_until",
    "state",
    "booked_on",
)


def page_of_dates(episode) -> str:
    return reverse("admin:scheduling_episode_dates", args=[episode.pk])


def has_dates(episode) -> bool:
    return episode.anchor_at is not None


def state_of(event):
    """The status of an event with its scan; that a booked MRI no longer counts is worked out, never stored."""
    return show.badge("missed", "needs rebooking") if event.needs_rebooking else show.state(event)


def rows_of(episode):
    rows = FollowUpEvent.objects.with_dates().with_scan(timezone.now()).filter(episode=episode)
    related = ("appointment", "episode__patient__site", "episode__protocol")
    return list(rows.select_related(*related).order_by("due_on", "offset", "pk"))


def events_of(episode):
    """The panel on the page of a treatment."""
    rows, zone = rows_of(episode), episode.patient.site.zone
    suggested = suggestions_for(rows)
    lines = (
        (
            show.link(event, event.name),
            event.get_kind_display(),
            show.day(event.due_on),
            show.days(event.opens_on, event.closes_on),
            state_of(event),
            show.link(event.appointment, show.when(event.appointment.during.lower, zone))
            if event.appointment
            else suggested.get(event.pk, show.NOTHING),
        )
        for event in rows
    )
    columns = ("What", "Kind", "Due", "Counts", "State", "Booked, or suggested")
    return show.table(
        columns, lines, empty="The plan appears when the procedure is booked; its dates follow the injection."
    )


def suggestions_for(rows):
    """In words, for the visits that are open and not booked."""
    wanted = {event.pk: event for event in rows if event.status == EventStatus.OPEN and event.appointment is None}
    found = schedule.suggestions(list(wanted.values()), at=timezone.now())
    return {pk: schedule.said(wanted[pk], suggestion) for pk, suggestion in found.items()}


def sheet(request, object_id):
    """Every date range of a treatment on one sheet, for staff to print right after the injection."""
    episode = seen(request, object_id)
    zone = episode.patient.site.zone
    with timezone.override(zone):
        rows = rows_of(episode)
        anchor = show.when(episode.anchor_at, zone) if episode.anchor_at else ""
        context = {
            **desk.each_context(request),
            "title": "When does each follow-up count?",
            "episode": episode,
            "anchor": anchor if episode.injected or not anchor else f"planned for {anchor}",
            "rows": [(event, state_of(event)) for event in rows],
            "file": reverse("admin:scheduling_episode_dates_csv", args=[episode.pk]),
            "back": show.page_of(episode),
        }
        return render(request, "admin/desk/dates.html", context)


def as_csv(request, object_id):
    """The same as a file. Neither its name nor its rows name the patient."""
    episode = seen(request, object_id)
    return csv_file(f"follow-up-{str(episode.pk)[:8]}.csv", COLUMNS, map(line_of, rows_of(episode)))


def line_of(event):
    dates = (event.due_on, event.optimal_opens_on, event.optimal_closes_on, event.opens_on, event.closes_on)
    state = "needs rebooking" if event.needs_rebooking else event.get_status_display()
    *dated, booked_on = ("" if day is None else day.isoformat() for day in (*dates, event.scan_on))
    return [event.name, event.get_kind_display(), *dated, state, booked_on]


def seen(request, object_id) -> Episode:
    if not request.user.has_perm("followup.view_followupevent"):
        raise PermissionDenied
    rows = Episode.objects.visible_to(request.user).select_related("patient__site", "protocol")
    episode = rows.filter(pk=object_id).first()
    if episode is None:
        raise Http404("There is no such treatment.")
    return episode
