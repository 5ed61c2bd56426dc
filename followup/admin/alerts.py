"""A worrying answer at the desk: somebody sees it, acts, and says what was done."""

from django import forms
from django.contrib import admin
from django.utils import timezone

from clinic.admin import show
from clinic.admin.pages import VisibleRelatedFilter
from clinic.admin.steps import StepAction, StepAdmin, StepForm, can_become
from clinic.desk import AFTERWARDS
from followup import alerts
from followup.models import Alert
from followup.states import ALERT_MOVES, AlertStatus


class DoneForm(StepForm):
    reason = forms.CharField(
        label="What was done?",
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Whom did you speak to, and what comes next? It is kept with your name and the time.",
    )


def unseen(alert, at) -> str:
    """For how long nobody has acknowledged it, in a word or two."""
    word = "overdue" if alerts.overdue(alert, at=at) else "unseen"
    return f"{word}, {alerts.age(alert, at=at)}"


@admin.register(Alert)
class AlertAdmin(StepAdmin):
    section, place = AFTERWARDS, 10
    question = "Which answers worry us?"
    empty = "None. A red-flag answer, or pain that rose since the baseline, appears here the same day."
    list_display = ("patient_name", "what", "detail", "raised", "status_shown", "phone")
    list_filter = ("status", "kind", ("event__episode__patient__site", VisibleRelatedFilter))
    list_select_related = ("event__episode__patient__site",)
    search_fields = tuple(f"event__episode__patient__{name}" for name in ("family_name", "given_name", "mrn"))
    ordering = ("status", "-raised_at", "pk")
    fieldsets = (
        (None, {"fields": ("patient_link", "phone", "what", "detail", "raised", "looked_after", "event", "treatment")}),
    )
    readonly_fields = ("patient_link", "phone", "what", "raised", "looked_after", "treatment")
    steps = (
        StepAction(
            name="acknowledge",
            label="I take care of it",
            take=alerts.acknowledge,
            available=can_become(ALERT_MOVES, AlertStatus.ACKNOWLEDGED),
            consequence=lambda alert: (
                f"Your name stands beside it from now on. Call {alert.event.episode.patient} at "
                f"{alert.event.episode.patient.phone or '(no phone number known)'}."
            ),
            done=lambda alert: f"You take care of {alert.event.episode.patient}. Next: call, then close it here.",
            main=True,
        ),
        StepAction(
            name="close",
            label="Close",
            take=alerts.close,
            form=DoneForm,
            available=can_become(ALERT_MOVES, AlertStatus.CLOSED),
            consequence="Somebody has dealt with it. It is not opened again; a new worrying answer is a new alert.",
            done=lambda alert: f"Closed: {alert.get_kind_display().lower()} of {alert.event.episode.patient}.",
            main=lambda alert: alert.status == AlertStatus.ACKNOWLEDGED,
        ),
    )

    def get_queryset(self, request):
        return super().get_queryset(request).select_related("event__episode__patient__site")

    @admin.display(description="Patient", ordering="event__episode__patient__family_name")
    def patient_name(self, alert):
        return str(alert.event.episode.patient)

    @admin.display(description="Patient")
    def patient_link(self, alert):
        return show.link(alert.event.episode.patient)

    @admin.display(description="Phone")
    def phone(self, alert):
        return show.known(alert.event.episode.patient.phone)

    @admin.display(description="What", ordering="kind")
    def what(self, alert):
        return alert.get_kind_display()

    @admin.display(description="Raised", ordering="raised_at")
    def raised(self, alert):
        return show.when(alert.raised_at, show.zone_of(alert))

    @admin.display(description="State", ordering="status")
    def status_shown(self, alert):
        if alert.status != AlertStatus.RAISED:
            return show.state(alert)
        return show.badge(alert.status, unseen(alert, timezone.now()))

    @admin.display(description="Who looks after it")
    def looked_after(self, alert):
        if not alert.acknowledged_by:
            return show.NOTHING
        return f"{alert.acknowledged_by}, since {show.when(alert.acknowledged_at, show.zone_of(alert))}"

    @admin.display(description="Treatment")
    def treatment(self, alert):
        return show.link(alert.event.episode)
