"""How complete the follow-up is, as a page and as a file: the same numbers, by time point."""

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.shortcuts import render
from django.utils import timezone

from clinic.admin.files import csv_file
from clinic.admin.pages import DateInput, visible
from clinic.desk import AFTERWARDS, Page, register_pages
from clinic.models import Site
from followup import completeness
from followup.models import FollowUpEvent
from followup.models.event import EventKind
from scheduling.models import Protocol

MAY = "followup.view_followupevent"
HEADINGS = {
    "expected": "Expected",
    "invited": "Invited",
    "bounced": "Bounced",
    "started": "Begun",
    "completed": "By themselves",
    "by_phone": "By phone",
    "on_paper": "On paper",
    "missed": "Missed",
    "open": "Open",
    "waived": "Waived",
    "voided": "Voided",
}
ADDED_UP = ("counted", "answered", "left")


class WhichForm(forms.Form):
    """Whose follow-up, and when it was due. Sent by GET: looking changes nothing."""

    site = forms.ModelChoiceField(Site.objects.none(), required=False, empty_label="All that I work at")
    protocol = forms.ModelChoiceField(Protocol.objects.none(), required=False, empty_label="All")
    kind = forms.ChoiceField(
        label="What",
        choices=[(kind.value, kind.label) for kind in (EventKind.SURVEY, EventKind.SYMPTOM_CHECK)],
        required=False,
    )
    first = forms.DateField(label="Due from", required=False, widget=DateInput)
    last = forms.DateField(label="Due until", required=False, widget=DateInput)

    def __init__(self, *args, user, **kwargs):
        super().__init__(*args, **kwargs)
        self.user = user
        self.fields["site"].queryset = visible(Site.objects.order_by("name"), user)
        self.fields["protocol"].queryset = Protocol.objects.order_by("name", "version")

    def time_points(self, *, at):
        """What was asked for; nothing until it makes sense."""
        if not self.is_valid():
            return ()
        asked = self.cleaned_data
        rows = FollowUpEvent.objects.visible_to(self.user)
        rows = rows.filter(episode__patient__site=asked["site"]) if asked["site"] else rows
        rows = rows.filter(episode__protocol=asked["protocol"]) if asked["protocol"] else rows
        kind = asked["kind"] or EventKind.SURVEY
        return completeness.by_time_point(rows, at=at, kind=kind, first=asked["first"], last=asked["last"])


def percent(share) -> int | None:
    """Rounded down, so that the goal is never shown before it is reached."""
    return None if share is None else int(share * 100)


def panel(request):
    """The page, or with `as=csv` the same numbers as a file."""
    if not request.user.has_perm(MAY):
        raise PermissionDenied
    form = WhichForm(request.GET, user=request.user)
    points = form.time_points(at=timezone.now())
    return as_file(points) if request.GET.get("as") == "csv" else as_page(request, form, points)


def as_page(request, form, points):
    query = request.GET.copy()
    query["as"] = "csv"
    context = {
        **admin.site.each_context(request),
        "title": "How complete is our follow-up?",
        "form": form,
        "headings": HEADINGS.values(),
        "goal": percent(completeness.GOAL),
        "rows": [
            {"point": point, "counts": [getattr(point, name) for name in HEADINGS], "percent": percent(point.share)}
            for point in points
        ],
        "file": f"?{query.urlencode()}",
    }
    return render(request, "admin/desk/completeness.html", context)


def as_file(points):
    columns = (*HEADINGS, *ADDED_UP)
    lines = (
        [point.code, point.name, *(getattr(point, name) for name in columns), percent(point.share)] for point in points
    )
    return csv_file("completeness.csv", ("code", "name", *columns, "percent"), lines)


register_pages(
    Page(
        section=AFTERWARDS,
        place=40,
        name="Completeness",
        path="followup/completeness/",
        view=panel,
        permission=MAY,
    )
)
