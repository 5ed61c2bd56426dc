"""Adverse events at the desk: recorded on a treatment or from a worrying answer, assessed, followed, closed."""

from django import forms
from django.contrib import admin
from django.utils import timezone

from clinic.admin import show
from clinic.admin.pages import DateInput, Panel, VisibleRelatedFilter, add_panels
from clinic.admin.steps import ReasonForm, StepAction, StepAdmin, StepForm, add_steps, can_become
from clinic.desk import AFTERWARDS
from followup import adverse
from followup.models import AdverseEvent, Alert
from followup.models.adverse import Causality, Criterion, CtcaeVersion, EventOutcome
from followup.states import ADVERSE_EVENT_MOVES, AdverseEventStatus
from scheduling.admin.treatments import OfOneTreatment
from scheduling.models import Episode
from scheduling.models.product import CellSource

S = AdverseEventStatus
NOT_ASSESSED = [("", "not assessed yet")]


def causality(label):
    return forms.ChoiceField(label=label, choices=[*NOT_ASSESSED, *Causality.choices], required=False)


class AdverseForm(StepForm):
    """What is known of an event. Nothing is graded or assessed beforehand: a person says it."""

    term = forms.CharField(label="What happened?", max_length=300, help_text="In a few words, as a clinician says it.")
    onset_on = forms.DateField(label="When did it begin?", widget=DateInput)
    ctcae_version = forms.ChoiceField(
        label="Graded by", choices=[("", "choose"), *CtcaeVersion.choices], help_text="A study stays with its version."
    )
    grade = forms.TypedChoiceField(
        label="Grade", choices=[(n, str(n)) for n in range(1, 6)], coerce=int, widget=forms.RadioSelect
    )
    seriousness = forms.MultipleChoiceField(
        label="Is it serious?",
        choices=Criterion.choices,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Tick what applies (21 CFR 312.32). Nothing ticked: not serious.",
    )
    related_to_procedure = causality("Related to the procedure")
    related_to_product = causality("Related to the cells")
    related_to_harvest = causality("Related to the harvest")
    expected = forms.TypedChoiceField(
        label="Expected",
        choices=[("", "not known"), ("yes", "yes"), ("no", "no")],
        coerce=lambda answer: answer == "yes",
        empty_value=None,
        required=False,
        help_text="Whether the papers of the product foresee it.",
    )
    outcome = forms.ChoiceField(label="How is it now?", choices=EventOutcome.choices)
    resolved_on = forms.DateField(label="Over on", widget=DateInput, required=False)

    def prepare(self):
        episode = self.treatment()
        if episode is not None and episode.protocol.product.source == CellSource.ALLOGENEIC:
            del self.fields["related_to_harvest"]
        if isinstance(self.row, Alert):
            self.fields["term"].initial = self.row.detail.splitlines()[0][:300]
            self.fields["onset_on"].initial = timezone.localdate(self.row.raised_at)

    def treatment(self):
        if isinstance(self.row, Alert):
            return self.row.event.episode
        return self.row.episode if isinstance(self.row, AdverseEvent) else self.row


class CorrectForm(AdverseForm):
    reason = forms.CharField(label="Why is it changed?", max_length=500, widget=forms.Textarea(attrs={"rows": 2}))

    def prepare(self):
        super().prepare()
        for name in set(self.fields) & set(adverse.ASSESSED):
            self.fields[name].initial = getattr(self.row, name)
        self.fields["expected"].initial = {True: "yes", False: "no", None: ""}[self.row.expected]


def record_from_alert(alert, **given):
    return adverse.record(alert.event.episode, alert=alert, **given)


def recorded(event) -> str:
    urgent = " It is serious: it stands on the first page until it is closed." if event.serious else ""
    return f"Recorded for {event.episode.patient}: {event.term}, grade {event.grade}.{urgent}"


@admin.register(AdverseEvent)
class AdverseEventAdmin(OfOneTreatment, StepAdmin):
    section, place = AFTERWARDS, 15
    called = "Adverse events"
    question = "What went wrong for whom, and is it over?"
    empty = 'None. Record one on the page of a treatment or of a worrying answer: "Record an adverse event".'
    list_display = ("patient_name", "what", "graded", "began", "how", "status_shown")
    list_filter = ("status", "grade", ("episode__patient__site", VisibleRelatedFilter))
    list_select_related = ("episode__patient__site", "episode__protocol")
    search_fields = ("term", *(f"episode__patient__{name}" for name in ("family_name", "given_name", "mrn")))
    ordering = ("-onset_on", "pk")
    fieldsets = (
        ("What happened to whom?", {"fields": ("patient_link", "treatment_link", "what", "began", "answer")}),
        ("How bad is it?", {"fields": ("graded", "serious_because", "how", "over")}),
        (
            "Where does it come from?",
            {"fields": ("related_to_procedure", "related_to_product", "related_to_harvest", "expected")},
        ),
        ("Who recorded it?", {"fields": ("recorded_by", "recorded")}),
    )
    readonly_fields = (
        *("patient_link", "treatment_link", "what", "began", "answer", "graded", "serious_because", "how", "over"),
        "recorded",
    )
    steps = (
        StepAction(
            name="follow",
            label="I follow it",
            take=adverse.follow,
            available=lambda event: event.status == S.OPEN,
            consequence="Your name stands beside it from now on, until it is closed.",
            done=lambda event: f"You follow it: {event.term}.",
            main=True,
        ),
        StepAction(
            name="correct",
            label="Correct or complete",
            take=adverse.correct,
            form=CorrectForm,
            available=lambda event: event.status != S.ENTERED_IN_ERROR,
            consequence="What was said before stays in the trail below, with your name and reason.",
            done=lambda event: f"Corrected: {event.term}, grade {event.grade}.",
        ),
        StepAction(
            name="close",
            label="Close",
            take=adverse.close,
            form=ReasonForm,
            available=can_become(ADVERSE_EVENT_MOVES, S.CLOSED),
            consequence="Nothing more is expected of it. Correct the outcome first if it is over. It can be followed "
            "again.",
            done=lambda event: f"Closed: {event.term}.",
            main=lambda event: event.status == S.FOLLOWED,
        ),
        StepAction(
            name="reopen",
            label="Follow it again",
            take=adverse.reopen,
            form=ReasonForm,
            available=lambda event: event.status == S.CLOSED,
            done=lambda event: f"Followed again: {event.term}.",
        ),
        StepAction(
            name="withdraw",
            label="Entered in error",
            take=adverse.withdraw,
            form=ReasonForm,
            available=can_become(ADVERSE_EVENT_MOVES, S.ENTERED_IN_ERROR),
            consequence="It stays readable and counts for nothing. It cannot be undone.",
            done=lambda event: f"Marked as entered in error: {event.term}.",
            destructive=True,
        ),
    )

    def get_queryset(self, request):
        rows = super().get_queryset(request)
        return rows.select_related("episode__patient__site", "episode__protocol__product", "alert__event")

    @admin.display(description="What happened", ordering="term")
    def what(self, event):
        return event.term

    @admin.display(description="Came to light by")
    def answer(self, event):
        return show.link(event.alert, event.alert.get_kind_display()) if event.alert else show.NOTHING

    @admin.display(description="Grade", ordering="grade")
    def graded(self, event):
        words = f"{event.grade} ({event.get_ctcae_version_display()})"
        return show.badge("failed", f"{words}, serious") if event.serious else words

    @admin.display(description="Serious")
    def serious_because(self, event):
        return ", ".join(str(Criterion(one).label) for one in event.seriousness) or "no"

    @admin.display(description="Began", ordering="onset_on")
    def began(self, event):
        return show.day(event.onset_on)

    @admin.display(description="Now", ordering="outcome")
    def how(self, event):
        return event.get_outcome_display()

    @admin.display(description="Over")
    def over(self, event):
        return show.day(event.resolved_on)

    @admin.display(description="Recorded")
    def recorded(self, event):
        return show.when(event.recorded_at, show.zone_of(event))

    @admin.display(description="State", ordering="status")
    def status_shown(self, event):
        return show.state(event)


def adverse_events_of(episode, request):
    rows = (
        (show.link(row, row.term), f"{row.grade} ({row.ctcae_version})", show.day(row.onset_on), show.state(row))
        for row in AdverseEvent.objects.filter(episode=episode).order_by("onset_on", "recorded_at")
    )
    return show.table(("What", "Grade", "Began", "State"), rows, empty="None recorded.")


NEW = {
    "name": "adverse-event",
    "label": "Record an adverse event",
    "form": AdverseForm,
    "permission": "followup.add_adverseevent",
    "consequence": "It becomes part of the record of this treatment. A serious one stands on the first page until it "
    "is closed.",
    "done": recorded,
    "then": lambda event: event,
}
add_panels(Episode, Panel("Adverse events", adverse_events_of))
add_steps(Episode, StepAction(take=adverse.record, available=lambda episode: episode.anchor_at is not None, **NEW))
add_steps(Alert, StepAction(take=record_from_alert, **NEW))
