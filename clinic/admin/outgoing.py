"""What goes out: everything that was sent, with its outcome, and everything that falls due in the next days, of one
clinic or of one patient. Looking changes nothing."""

from datetime import timedelta
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from clinic import clock, optouts, outgoing
from clinic.admin import show
from clinic.admin.messages import kind_of
from clinic.admin.pages import DateInput, Panel, add_panels, visible
from clinic.desk import LETTERS, Page, register_pages
from clinic.models import Channel, Message, Patient, Site
from clinic.outgoing import TO_COME, WILL_NOT_GO
from clinic.states import MessageStatus

MAY = "clinic.view_message"
ADDRESS = "admin:clinic_going-out"
DAYS = 92  # at most, at a time
LONGEST = timedelta(days=DAYS - 1)
YEARS = 10  # how far from today a day may lie
ON_A_PAGE, ON_PAPER = 50, 2000
STATES = {
    TO_COME: "to come",
    WILL_NOT_GO: "will not go",
    MessageStatus.DUE: "due",
    MessageStatus.SENDING: "sending",
    MessageStatus.SENT: "sent",
    MessageStatus.SKIPPED: "skipped",
    MessageStatus.FAILED: "failed",
    MessageStatus.UNKNOWN: "unknown",
}
TONE = {TO_COME: "planned", WILL_NOT_GO: "cannot_decide"}
MAY_BE_EMPTY = (TO_COME, WILL_NOT_GO, MessageStatus.SENT)  # a zero of these is news; of the others it is the rule
EMPTY = "Nothing in the next days. A message follows from what is booked, due or overdue: it appears here by itself."


class WhichForm(forms.Form):
    """Of whom, on which days, and which of them. Sent by GET: looking changes nothing."""

    patient = forms.UUIDField(required=False, widget=forms.HiddenInput)
    site = forms.ModelChoiceField(Site.objects.none(), label="Clinic", empty_label=None)
    first = forms.DateField(label="From", widget=DateInput)
    last = forms.DateField(label="Until", widget=DateInput)
    kind = forms.ChoiceField(label="Message", required=False)
    channel = forms.ChoiceField(label="By", required=False, choices=[("", "All"), *Channel.choices])
    state = forms.ChoiceField(
        required=False, choices=[("", "All"), *((value, words.capitalize()) for value, words in STATES.items())]
    )

    def __init__(self, given, *, sites, at):
        super().__init__({**self.first_answers(sites, given, at), **given})
        self.today = clock.local_date(at, sites[0].zone)
        self.fields["site"].queryset = Site.objects.filter(pk__in=[site.pk for site in sites]).order_by("name")
        kinds = {name: kind_of(Message(kind=name)) for name in settings.MESSAGE_KINDS}
        self.fields["kind"].choices = [("", "All"), *kinds.items()]
        if len(sites) == 1:
            self.fields["site"].widget = forms.HiddenInput()

    @staticmethod
    def first_answers(sites, given, at):
        chosen = next((site for site in sites if str(site.pk) == given.get("site")), sites[0])
        days = outgoing.next_days(chosen, at=at)
        return {"site": chosen.pk, "first": days.first.isoformat(), "last": days.last.isoformat()}

    def clean(self):
        first, last = self.cleaned_data.get("first"), self.cleaned_data.get("last")
        if not (first and last):
            return
        if last < first:
            self.add_error("last", "This is before the first day.")
        elif (last - first).days >= DAYS:
            self.add_error("last", f"Choose at most {DAYS} days at a time.")
        elif max(abs((day - self.today).days) for day in (first, last)) > YEARS * 365:
            self.add_error("first", f"Choose days within {YEARS} years of today.")


def panel(request):
    """The page: what was asked for, or why that makes no sense."""
    if not request.user.has_perm(MAY):
        raise PermissionDenied
    at = timezone.now()
    patient = patient_of(request)
    sites = [patient.site] if patient else list(visible(Site.objects.order_by("name"), request.user).distinct())
    if not sites:
        return shown(request, None, patient, at)
    return shown(request, WhichForm(request.GET.dict(), sites=sites, at=at), patient, at)


def patient_of(request):
    """The one patient it is about, if it is; somebody else's patient is not there."""
    asked = request.GET.get("patient", "")
    if not asked:
        return None
    try:
        key = forms.UUIDField().clean(asked)
    except forms.ValidationError:
        raise Http404("There is no such patient.") from None
    patient = Patient.objects.visible_to(request.user).select_related("site").filter(pk=key).first()
    if patient is None:
        raise Http404("There is no such patient.")
    return patient


def shown(request, form, patient, at):
    context = {**admin.site.each_context(request), "title": "What goes out, and what has gone out?", "form": form}
    if form is not None and form.is_valid():
        asked = outgoing.Asked(**{**form.cleaned_data, "patient": patient})
        context |= found(request, asked, at)
    if patient:
        context |= {"patient": patient, "back": show.page_of(patient), "everybody": reverse(ADDRESS)}
    return render(request, "admin/desk/going_out.html", context)


def found(request, asked, at):
    timeline = outgoing.Timeline(asked, at=at)
    whole = "whole" in request.GET
    page = Paginator(timeline, ON_PAPER if whole else ON_A_PAGE).get_page(request.GET.get("page"))
    waiting, since = timeline.waiting_since
    return {
        "asked": asked,
        "days": show.days(asked.first, asked.last),
        "printed": show.when(at, asked.site.zone),
        "rows": rows_of(page.object_list),
        "page": page,
        "tally": [
            {"state": show.badge(TONE.get(state, state), words), "count": count, "url": with_(request, state=state)}
            for state, words in STATES.items()
            if (count := timeline.tally.get(state, 0)) or state in MAY_BE_EMPTY
        ],
        "before": with_(request, page=page.number - 1) if page.has_previous() else "",
        "after": with_(request, page=page.number + 1) if page.has_next() else "",
        "whole": "" if whole or page.paginator.num_pages == 1 else with_(request, whole=1),
        "narrowed": bool(asked.kind or asked.channel or asked.state),
        "next_days": page_for(asked.patient) if asked.patient else f"{reverse(ADDRESS)}?site={asked.site.pk}",
        "waiting": waiting,
        "waiting_url": with_(request, first=since, last=min(asked.last, since + LONGEST), state="due") if since else "",
    }


def with_(request, **changed):
    """This page's address with some answers changed, from its first page on."""
    query = request.GET.copy()
    for name in ("page", "whole"):
        query.pop(name, None)
    for name, value in changed.items():
        query[name] = value
    return f"?{query.urlencode()}"


def rows_of(messages):
    against = optouts.objections(message.patient for message in messages)
    return [row_of(message, against[message.patient_id]) for message in messages]


def row_of(message, against):
    """One message as the table shows it: the patient first, what is to be done about it last."""
    stored = not message._state.adding
    status, why = (message.status, message.reason) if stored else (TO_COME, "")
    if status in (TO_COME, MessageStatus.DUE) and (hindrance := outgoing.why_not(message, against)):
        status, why = WILL_NOT_GO, hindrance
    following = None
    if status == WILL_NOT_GO:
        following = show.page_of(message.patient), "See patient"
    elif status in (MessageStatus.UNKNOWN, MessageStatus.FAILED):
        following = show.page_of(message), "Decide"
    return {
        "message": message,
        "what": kind_of(message),
        "page": show.page_of(message) if stored else "",
        "when": show.when(message.sent_at or message.due_at, message.site.zone),
        "state": show.badge(TONE.get(status, status), STATES[status]),
        "why": why,
        "following": following,
    }


def page_for(patient) -> str:
    return f"{reverse(ADDRESS)}?{urlencode({'patient': patient.pk})}"


def patient_panel(patient, request):
    """What this patient will hear in the next days, on the patient's page."""
    asked = outgoing.next_days(patient.site, at=timezone.now(), patient=patient)
    timeline = outgoing.Timeline(asked, at=timezone.now())
    waiting = [*timeline.found.filter(status__in=outgoing.WAITING), *timeline.expected]
    lines = [
        (row["what"], row["when"], row["message"].get_channel_display(), row["state"], row["why"] or show.NOTHING)
        for row in rows_of(waiting)
    ]
    table = show.table(("Message", "Due", "By", "State", "Why not"), lines, empty=EMPTY)
    return format_html('{}<p><a href="{}">Everything that goes out to this patient</a></p>', table, page_for(patient))


add_panels(Patient, Panel("What this patient will hear in the next 14 days", patient_panel))
register_pages(
    Page(section=LETTERS, place=5, name="What goes out", path="clinic/going-out/", view=panel, permission=MAY)
)
