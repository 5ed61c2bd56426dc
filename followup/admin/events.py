"""Step 7 at the desk: what is due for whom, with its dates; answers by phone, readings of MRI, calls, and waivers."""

from functools import partial

from django import forms
from django.contrib import admin
from django.utils import timezone

from clinic.admin import show
from clinic.admin.pages import FirstIsDefault, Panel, VisibleRelatedFilter
from clinic.admin.steps import ReasonForm, StepAction, StepAdmin, StepForm, can_become
from clinic.desk import AFTERWARDS
from clinic.models import Site
from followup import calls, due, events, imaging, schedule, surveys
from followup.admin import dates, finder
from followup.admin.answers import PaperForm, PhoneForm, history_of_event
from followup.models import FollowUpEvent
from followup.models.event import CallOutcome, EventKind
from followup.states import EVENT_MOVES, EventStatus
from scheduling.admin.imaging import ReadingForm, discs_of
from scheduling.admin.treatments import OfOneTreatment
from scheduling.states import APPOINTMENT_LIVE


class CallForm(StepForm):
    outcome = forms.ChoiceField(label="How did the call go?", choices=CallOutcome.choices, widget=forms.RadioSelect)
    note = forms.CharField(required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 3}))


class DueFilter(FirstIsDefault):
    title = "work"
    parameter_name = "work"

    def lookups(self, request, model_admin):
        return (
            ("open", "Everything open"),
            ("week", "Due this week"),
            ("call", "To call about"),
            ("mri", "MRI to book"),
            ("rebook", "MRI to book again"),
            ("unneeded", "MRI booked for nothing"),
            ("all", "All, with what is closed"),
        )

    def queryset(self, request, queryset):
        at = timezone.now()
        if self.value() == "open":
            return queryset.filter(status=EventStatus.OPEN)
        chosen = {
            "week": partial(due.this_week, Site.objects.visible_to(request.user)),
            "call": calls.queue,
            "mri": imaging.unbooked,
            "rebook": imaging.needs_rebooking,
            "unneeded": events.booked_for_nothing,
        }.get(self.value())
        return queryset.filter(pk__in=chosen(at=at).values("pk")) if chosen else queryset


def is_open(event) -> bool:
    return event.status == EventStatus.OPEN


def readable(event) -> bool:
    return event.kind == EventKind.MRI and event.status in (EventStatus.OPEN, EventStatus.MISSED)


def may_be_asked(event) -> bool:
    return event.kind != EventKind.MRI and event.status in (EventStatus.OPEN, EventStatus.MISSED)


def askable_now(event) -> bool:
    return is_open(event) and event.opens_on is not None and event.opens_on <= timezone.localdate()


def recorded(event) -> str:
    return f"The answers of {event.episode.patient} for {event.name} are recorded."


def booked(event) -> bool:
    return event.appointment is not None and event.appointment.status in APPOINTMENT_LIVE


@admin.register(FollowUpEvent)
class FollowUpEventAdmin(OfOneTreatment, StepAdmin):
    section, place = AFTERWARDS, 20
    called = "What is due"
    question = "What is due for whom?"
    empty = "Nothing yet. The plan of a patient appears here once the procedure is booked."
    list_display = ("patient_name", "name", "due", "window", "status_shown", "phone")
    list_filter = (DueFilter, "kind", ("episode__patient__site", VisibleRelatedFilter))
    list_select_related = ("episode__patient__site", "appointment")
    search_fields = tuple(f"episode__patient__{name}" for name in ("family_name", "given_name", "mrn"))
    fieldsets = (
        ("Whom and what is it about?", {"fields": ("patient_link", "phone", "treatment_link", "name", "kind")}),
        ("When is it due?", {"fields": ("due", "best", "window")}),
        ("MRI", {"fields": ("appointment", "mri", "booking")}),
    )
    readonly_fields = ("patient_link", "phone", "treatment_link", "due", "best", "window", "booking")
    panels = (
        Panel("What was seen, disc by disc", lambda event, request: discs_of(event.mri) if event.mri else NO_READING),
        Panel("Answers", lambda event, request: responses_of(event)),
        Panel("What was said, and when", lambda event, request: history_of_event(event)),
        Panel("Calls", lambda event, request: calls_of(event)),
    )
    steps = (
        StepAction(
            name="answer",
            label="Record answers",
            take=surveys.record,
            form=PhoneForm,
            available=may_be_asked,
            consequence="Read the questions out word for word and enter what the patient says. What they have answered "
            "already stays theirs. It closes the survey; a mistake is corrected afterwards, with a reason.",
            done=recorded,
            main=askable_now,
        ),
        StepAction(
            name="paper",
            label="Enter a paper form",
            take=surveys.record,
            form=PaperForm,
            available=may_be_asked,
            consequence="Copy what the patient wrote: every statement that is marked, and the line in millimetres. It "
            "closes the survey; a mistake is corrected afterwards, with a reason.",
            done=recorded,
        ),
        StepAction(
            name="call",
            label="Log a call",
            take=calls.log,
            form=CallForm,
            available=may_be_asked,
            permission="followup.add_callattempt",
            consequence=f"After {calls.ATTEMPTS} calls in vain the time point is missed, and the patient is left in "
            "peace until the next one. The link in their e-mail works until the window closes.",
            done=lambda call: (
                f"The call to {call.event.episode.patient} is logged: {call.get_outcome_display().lower()}."
            ),
            then=lambda call: call.event,
        ),
        StepAction(
            name="find-mri",
            label="Find a time for the MRI",
            page=finder.page_for_event,
            available=lambda event: event.kind == EventKind.MRI and is_open(event) and not booked(event),
            permission="scheduling.add_appointment",
            main=True,
        ),
        StepAction(
            name="move-mri",
            label="Find a day that counts for the MRI",
            page=lambda event: finder.page_for_move(event.appointment),
            available=lambda event: event.needs_rebooking,
            permission="scheduling.add_appointment",
            main=True,
        ),
        StepAction(
            name="read",
            label="Record the MRI",
            take=imaging.read,
            form=ReadingForm,
            available=readable,
            permission="scheduling.add_mristudy",
            consequence="What a reader saw, disc by disc. It closes this follow-up and cannot be undone.",
            done=lambda study: f"The MRI of {study.patient} is recorded.",
            then=lambda study: FollowUpEvent.objects.get(mri=study),
            main=lambda event: booked(event) and not event.needs_rebooking,
        ),
        StepAction(
            name="waive",
            label="Waive",
            take=events.waive,
            form=ReasonForm,
            available=can_become(EVENT_MOVES, EventStatus.WAIVED),
            permission="followup.waive_event",
            consequence='It will not be asked or scanned, and nothing more is sent about it. To undo: "Open again".',
            done=lambda event: f"Waived for {event.episode.patient}: {event.name}.",
            destructive=True,
        ),
        StepAction(
            name="reopen",
            label="Open again",
            take=events.reopen,
            form=ReasonForm,
            available=lambda event: event.status == EventStatus.WAIVED,
            permission="followup.waive_event",
            consequence="Its dates are counted from the injection again, and messages about it are sent again.",
            done=lambda event: f"Open again for {event.episode.patient}: {event.name}.",
        ),
    )

    def get_queryset(self, request):
        rows = super().get_queryset(request).with_dates().with_scan(timezone.now())
        rows = rows.select_related("episode__patient__site", "episode__protocol", "appointment", "mri")
        return rows.order_by("due_on", "pk")

    @admin.display(description="Phone")
    def phone(self, event):
        return show.known(event.episode.patient.phone)

    @admin.display(description="Due", ordering="due_on")
    def due(self, event):
        return show.day(event.due_on)

    @admin.display(description="Best")
    def best(self, event):
        return show.days(event.optimal_opens_on, event.optimal_closes_on)

    @admin.display(description="Counts")
    def window(self, event):
        return show.days(event.opens_on, event.closes_on)

    @admin.display(description="State", ordering="status")
    def status_shown(self, event):
        return dates.state_of(event)

    @admin.display(description="Day of the MRI")
    def booking(self, event):
        """Where the booked day stands, or the day that the clinic's calendar suggests."""
        counts = f"It counts from {show.day(event.opens_on)} to {show.day(event.closes_on)}."
        if event.needs_rebooking:
            return f"Needs rebooking: it is booked on {show.day(event.scan_on)}. {counts}"
        if event.kind != EventKind.MRI or not is_open(event) or event.due_on is None or booked(event):
            return show.NOTHING
        return f"Suggested: {schedule.said(event, schedule.suggest(event, at=timezone.now())).rstrip('.')}."


NO_READING = show.NOTHING


def responses_of(event):
    rows = (
        (
            show.link(row, row.instrument.title),
            show.state(row),
            row.get_mode_display(),
            show.known(row.score and f"{row.score:.0f}"),
        )
        for row in event.responses.select_related("instrument").order_by("pk")
    )
    return show.table(("Survey", "State", "How", "Score"), rows, empty="Nothing answered yet.")


def calls_of(event):
    zone = show.zone_of(event)
    rows = (
        (show.when(call.called_at, zone), call.get_outcome_display(), call.called_by, call.note or show.NOTHING)
        for call in event.calls.order_by("called_at", "pk")
    )
    return show.table(("When", "How it went", "By", "Note"), rows, empty="No call yet.")
