"""Step 6 at the desk, on the page of the procedure day: the discharge score, and going home."""

from datetime import timedelta

from django import forms
from django.utils.timezone import now

from clinic.admin import show
from clinic.admin.pages import Panel, add_panels
from clinic.admin.steps import StepAction, StepForm, add_steps
from followup import recovery
from followup.models import Discharge, RecoveryScore
from scheduling.models import Appointment, Injection
from scheduling.models.protocol import Visit
from scheduling.states import AppointmentStatus


class ScoreForm(StepForm):
    """Five items of 0 to 2, as in Chung 1995."""

    def prepare(self):
        for name in RecoveryScore.ITEMS:
            label = str(RecoveryScore._meta.get_field(name).verbose_name).capitalize()
            self.fields[name] = forms.TypedChoiceField(
                label=label, choices=[(2, "2"), (1, "1"), (0, "0")], coerce=int, widget=forms.RadioSelect
            )

    def arguments(self):
        return {"items": self.cleaned_data}


class DischargeForm(StepForm):
    escorted_by = forms.CharField(
        label="Who takes the patient home?", max_length=120, help_text="A name. Nobody goes home alone."
    )
    note = forms.CharField(label="Note", required=False, max_length=4000, widget=forms.Textarea(attrs={"rows": 3}))


def score(appointment, *, items, by, at):
    return recovery.score(appointment.injection, items=items, by=by, at=at)


def discharge(appointment, **given):
    return recovery.discharge(appointment.injection, **given)


def injected(appointment) -> bool:
    return appointment.visit == Visit.PROCEDURE and appointment.status == AppointmentStatus.FULFILLED


def recovery_of(appointment, request):
    """The scores since the injection and the discharge, the newest last."""
    injection = Injection.objects.filter(appointment=appointment).first()
    if injection is None:
        return show.table((), (), empty="It begins when the injection is recorded.")
    zone = appointment.site.zone
    rows = [
        (show.when(row.scored_at, zone), f"Score {row}", row.scored_by, show.NOTHING)
        for row in RecoveryScore.objects.filter(injection=injection).order_by("scored_at", "pk")
    ]
    gone = Discharge.objects.filter(injection=injection).first()
    if gone:
        rows.append(
            (show.when(gone.discharged_at, zone), f"Went home with {gone.escorted_by}", gone.discharged_by, gone.note)
        )
    return show.table(("When", "What", "By", "Note"), rows, empty='Not scored yet. Choose "Score the recovery" above.')


add_panels(Appointment, Panel("Recovery", recovery_of))
add_steps(
    Appointment,
    StepAction(
        name="score",
        label="Score the recovery",
        take=score,
        form=ScoreForm,
        available=injected,
        permission="followup.add_recoveryscore",
        consequence="First an hour after the injection, then every half hour, as often as needed. "
        f"{recovery.FIT_TO_GO_HOME} of 10 or more is fit to go home (Chung 1995).",
        done=lambda row: (
            f"The score is {row}. "
            + (
                "Next: the patient may go home."
                if row.total >= recovery.FIT_TO_GO_HOME
                else "Next: wait, and score again."
            )
        ),
        then=lambda row: row.injection.appointment,
        main=lambda appointment: now() < appointment.during.upper + timedelta(hours=12),
    ),
    StepAction(
        name="discharge",
        label="The patient goes home",
        take=discharge,
        form=DischargeForm,
        available=injected,
        permission="followup.add_discharge",
        consequence=f"The latest score must be {recovery.FIT_TO_GO_HOME} of 10 or more. The day ends here. Symptom "
        "checks, surveys and MRI follow by themselves; the treatment's page shows when.",
        done=lambda row: f"{row.injection.episode.patient} is on the way home. The follow-up runs from now on.",
        then=lambda row: row.injection.episode,
    ),
)
