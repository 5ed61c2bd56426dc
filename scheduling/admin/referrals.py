"""Step 1 at the desk: a referral is received, accepted or declined, and leads to an evaluation."""

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.db.models import Exists, OuterRef
from django.utils import timezone

from clinic.admin import show
from clinic.admin.pages import DateInput, Panel, VisibleRelatedFilter, add_panels
from clinic.admin.steps import ReasonForm, StepAction, StepAdmin, StepForm, add_steps, can_become
from clinic.desk import PEOPLE
from clinic.models import Patient
from scheduling import evaluations, referrals
from scheduling.admin.findings import FindingsForm
from scheduling.models import Evaluation, Referral
from scheduling.states import REFERRAL_MOVES, ReferralStatus


class ReferForm(StepForm):
    source = forms.CharField(label="Who referred?", max_length=200, help_text="A practice, a clinician, the patient.")
    reason = forms.CharField(
        label="Why, in the referrer's words?", widget=forms.Textarea(attrs={"rows": 4}), max_length=4000
    )
    received_on = forms.DateField(label="Received on", widget=DateInput)

    def prepare(self):
        self.fields["received_on"].initial = timezone.localdate()


class ReceiveForm(ReferForm):
    patient = forms.ModelChoiceField(
        Patient.objects.all(),
        widget=AutocompleteSelect(Referral._meta.get_field("patient"), admin.site),
        help_text="Type a name or a record number. Not there? Register the patient first.",
    )
    field_order = ("patient",)


def receive(*, patient, **given):
    return referrals.receive(patient, **given)


def evaluate(referral, *, treatments, by, at, **findings):
    return evaluations.record(referral, findings=findings, treatments=treatments, by=by, at=at)


def received(referral):
    return f"The referral of {referral.patient} is received. Next: accept or decline it."


@admin.register(Referral)
class ReferralAdmin(StepAdmin):
    section, place = PEOPLE, 20
    question = "Whom were we asked to see?"
    empty = "No referrals yet. Receive one here, or on the page of the patient."
    list_display = ("patient_name", "source", "received", "status_shown", "why")
    list_filter = ("status", ("patient__site", VisibleRelatedFilter))
    list_select_related = ("patient__site",)
    search_fields = ("patient__family_name", "patient__given_name", "patient__mrn", "source")
    ordering = ("-received_on", "pk")
    fieldsets = ((None, {"fields": ("patient", "source", "reason", "received")}),)
    readonly_fields = ("received",)
    adding = StepAction(
        name="add",
        label="Receive a referral",
        take=receive,
        form=ReceiveForm,
        consequence="The referral waits until somebody accepts or declines it. Nothing is sent to the patient.",
        done=received,
    )
    steps = (
        StepAction(
            name="accept",
            label="Accept",
            take=referrals.accept,
            available=can_become(REFERRAL_MOVES, ReferralStatus.ACCEPTED),
            consequence="We will evaluate this patient. Nothing is sent to the patient.",
            done=lambda referral: f"The referral of {referral.patient} is accepted. Next: evaluate.",
            main=lambda referral: referral.status == ReferralStatus.RECEIVED,
        ),
        StepAction(
            name="evaluate",
            label="Record the evaluation",
            take=evaluate,
            form=FindingsForm,
            available=lambda referral: referral.status == ReferralStatus.ACCEPTED,
            permission="scheduling.add_evaluation",
            consequence='What you leave open counts as not known: the criteria then say "cannot decide", never "no".',
            done=lambda evaluation: (
                f"The evaluation of {evaluation.referral.patient} is recorded. Next: let the criteria judge it."
            ),
            then=lambda evaluation: evaluation,
            main=lambda referral: not referral.evaluated,
        ),
        StepAction(
            name="decline",
            label="Decline",
            take=referrals.decline,
            form=ReasonForm,
            available=can_become(REFERRAL_MOVES, ReferralStatus.DECLINED),
            consequence="We will not treat this patient on this referral. Nothing is sent; please tell the referrer. "
            "To undo: accept it later.",
            done=lambda referral: f"The referral of {referral.patient} is declined. Please tell the referrer.",
            destructive=True,
        ),
    )
    panels = (Panel("Evaluations from this referral", lambda referral, request: evaluations_of(referral)),)

    def get_queryset(self, request):
        evaluated = Evaluation.objects.filter(referral=OuterRef("pk"))
        return super().get_queryset(request).select_related("patient__site").annotate(evaluated=Exists(evaluated))

    @admin.display(description="Patient", ordering="patient__family_name")
    def patient_name(self, referral):
        return str(referral.patient)

    @admin.display(description="Received", ordering="received_on")
    def received(self, referral):
        return show.day(referral.received_on)

    @admin.display(description="State", ordering="status")
    def status_shown(self, referral):
        return show.state(referral)

    @admin.display(description="Why")
    def why(self, referral):
        return referral.reason if len(referral.reason) < 80 else f"{referral.reason[:77]}..."


def evaluations_of(referral):
    rows = (
        (show.link(found, f"{found.evaluated_on:%d %b %Y}"), found.evaluated_by, ", ".join(found.target_levels))
        for found in referral.evaluations.order_by("-evaluated_on", "-pk")
    )
    return show.table(
        ("On", "By", "Disc levels"), rows, empty="None yet. Accept the referral, then record what is found."
    )


def referrals_of(patient, request):
    rows = (
        (show.link(referral, f"{referral.received_on:%d %b %Y}"), show.state(referral), referral.source)
        for referral in patient.referrals.order_by("-received_on", "-pk")
    )
    return show.table(("Received", "State", "From"), rows, empty='None yet. Choose "Receive a referral" above.')


add_panels(Patient, Panel("Referrals", referrals_of))
add_steps(
    Patient,
    StepAction(
        name="refer",
        label="Receive a referral",
        take=referrals.receive,
        form=ReferForm,
        available=lambda patient: not patient.deceased,
        permission="scheduling.add_referral",
        consequence="The referral waits until somebody accepts or declines it. Nothing is sent to the patient.",
        done=received,
        then=lambda referral: referral,
    ),
)
