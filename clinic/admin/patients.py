"""Step 0: the patient's page. Everything that happens to a patient is reached from here; higher apps add to it."""

from django import forms
from django.contrib import admin
from django.db.models import Exists, OuterRef
from django.utils.html import format_html

from clinic import optouts, patients
from clinic.admin import show
from clinic.admin.messages import messages_panel
from clinic.admin.pages import DateInput, Panel, VisibleRelatedFilter
from clinic.admin.steps import ReasonForm, StepAction, StepAdmin, StepForm
from clinic.desk import PEOPLE
from clinic.models import Category, Channel, OptOut, Patient, Site
from clinic.models.patients import Sex


class DetailsForm(StepForm):
    family_name = forms.CharField(max_length=120)
    given_name = forms.CharField(max_length=120, required=False)
    mrn = forms.CharField(label="Medical record number", max_length=100)
    birth_date = forms.DateField(required=False, widget=DateInput)
    sex = forms.ChoiceField(choices=Sex.choices, initial=Sex.UNKNOWN)
    email = forms.EmailField(label="E-mail", required=False, help_text="Surveys and reminders go here.")
    phone = forms.CharField(max_length=40, required=False, help_text="Whom we call when a survey stays unanswered.")
    language = forms.CharField(max_length=20, initial="en", help_text="en, es-MX, de: the language of the surveys.")


class CorrectForm(DetailsForm):
    def prepare(self):
        known = {name: getattr(self.row, name) for name in self.fields}
        self.initial = {**known, **self.initial}


class RegisterForm(DetailsForm):
    site = forms.ModelChoiceField(Site.objects.order_by("name"), label="Clinic", empty_label=None)
    field_order = ("site", "family_name", "given_name", "mrn")


class DeathForm(StepForm):
    on = forms.DateField(label="Day of death", required=False, widget=DateInput, help_text="Leave empty if not known.")


class WantedForm(StepForm):
    email = forms.MultipleChoiceField(
        label="By e-mail", choices=Category.choices, required=False, widget=forms.CheckboxSelectMultiple
    )
    sms = forms.MultipleChoiceField(
        label="By text message", choices=Category.choices, required=False, widget=forms.CheckboxSelectMultiple
    )

    def prepare(self):
        for channel in optouts.WAYS:
            self.fields[channel].initial = sorted(optouts.wanted_of(self.row, channel=channel))


def choose(patient, *, email, sms, by, at):
    optouts.choose(patient, channel=Channel.EMAIL, wanted=email, by=by, at=at)
    return optouts.choose(patient, channel=Channel.SMS, wanted=sms, by=by, at=at)


def register(**given):
    return patients.register(**given)


class StandingFilter(admin.SimpleListFilter):
    title = "can be written to"
    parameter_name = "reach"

    def lookups(self, request, model_admin):
        return (
            ("yes", "Yes"),
            ("no_email", "No e-mail address"),
            ("stopped", "Asked for no e-mail"),
            ("returned", "Mail comes back"),
            ("dead", "Deceased"),
        )

    def queryset(self, request, queryset):
        living = queryset.filter(deceased=False)
        chosen = {
            "yes": living.filter(email_stopped=False, email_returned=False).exclude(email=""),
            "no_email": living.filter(email=""),
            "stopped": living.filter(email_stopped=True),
            "returned": living.filter(email_returned=True),
            "dead": queryset.filter(deceased=True),
        }
        return chosen.get(self.value(), queryset)


def standing(patient: Patient):
    """Whether this patient may be written to, as a word with a colour."""
    if patient.deceased:
        return format_html('<span class="state">{}</span>', "✝ deceased")
    if patient.email_stopped:
        return show.badge("cannot_decide", "no e-mail wanted")
    if not patient.email:
        return show.badge("cannot_decide", "no e-mail address")
    if patient.email_returned:
        return show.badge("fail", "mail comes back")
    return show.badge("done", "can be written to")


@admin.register(Patient)
class PatientAdmin(StepAdmin):
    section, place = PEOPLE, 10
    question = "Which patient?"
    empty = "No patients yet. Register one here, or import a file with: manage.py import_patients FILE."
    list_display = ("name", "mrn", "born", "email", "phone", "reach")
    list_filter = (StandingFilter, ("site", VisibleRelatedFilter))
    search_fields = ("family_name", "given_name", "mrn", "email", "phone")
    search_help_text = "Name, record number, e-mail or phone"
    ordering = ("family_name", "given_name", "pk")
    shows_next = False
    fieldsets = (
        ("Who is it?", {"fields": ("family_name", "given_name", "born", "sex", "mrn", "mrn_system", "site")}),
        ("How do we reach this patient?", {"fields": ("reach", "email", "phone", "language", "unwanted")}),
    )
    readonly_fields = ("born", "reach", "unwanted")
    panels = (Panel("What we said to this patient", lambda row, request: messages_panel(row)),)
    adding = StepAction(
        name="add",
        label="Register a patient",
        take=register,
        form=RegisterForm,
        consequence="The patient can be referred at once. Nothing is sent to the patient yet.",
        done=lambda patient: f"{patient} is registered. Next: receive the referral.",
    )
    steps = (
        StepAction(
            name="correct",
            label="Correct the details",
            take=patients.correct,
            form=CorrectForm,
            consequence="From now on messages and calls use what you enter here. What was sent stays as it was.",
            done=lambda patient: f"The details of {patient} are corrected.",
        ),
        StepAction(
            name="wanted",
            label="Choose what is sent",
            take=choose,
            form=WantedForm,
            available=lambda patient: not patient.deceased,
            consequence="What is ticked is sent. It holds from now on, also for what is due already.",
            done=lambda patient: f"Saved: what {patient} wants to hear, and by which way.",
        ),
        StepAction(
            name="stop-email",
            label="Stop e-mail",
            take=optouts.stop,
            available=lambda patient: not patient.email_stopped and not patient.deceased,
            consequence="No e-mail goes to this patient any more, not even reminders of appointments. Surveys go to "
            "the "
            'call list instead. To undo: "Allow e-mail again".',
            done=lambda patient: f"{patient} gets no more e-mail. Surveys of this patient go to the call list.",
            destructive=True,
        ),
        StepAction(
            name="allow-email",
            label="Allow e-mail again",
            take=optouts.allow,
            available=lambda patient: patient.email_stopped and not patient.deceased,
            consequence="Only if the patient asked for it. What becomes due from now on is sent by e-mail again.",
            done=lambda patient: f"{patient} gets e-mail again.",
        ),
        StepAction(
            name="deceased",
            label="Mark as deceased",
            take=patients.mark_deceased,
            form=DeathForm,
            available=lambda patient: not patient.deceased,
            consequence="Nothing is ever sent to this patient again. Booked times stay until you cancel them, so "
            "please "
            'look at the treatment afterwards. To undo: "Not deceased".',
            done=lambda patient: f"{patient} is marked as deceased; nothing more is sent. Next: cancel what is booked.",
            destructive=True,
        ),
        StepAction(
            name="living",
            label="Not deceased: recorded by mistake",
            take=patients.mark_living,
            form=ReasonForm,
            available=lambda patient: patient.deceased,
            consequence="The record of the death is taken back. What becomes due from now on is sent again.",
            done=lambda patient: f"{patient} is no longer marked as deceased.",
        ),
    )

    def get_queryset(self, request):
        everything = OptOut.objects.filter(patient=OuterRef("pk"), channel=Channel.EMAIL, category=optouts.EVERYTHING)
        returned = optouts.standing_returns().filter(patient=OuterRef("pk"), permanent=True)
        return super().get_queryset(request).annotate(email_stopped=Exists(everything), email_returned=Exists(returned))

    def get_fieldsets(self, request, patient=None):
        if patient is None or not patient.deceased:
            return self.fieldsets
        return (*self.fieldsets, ("When did this patient die?", {"fields": ("deceased_on",)}))

    def get_search_results(self, request, queryset, search_term):
        return super().get_search_results(request, queryset, search_term.replace(",", " "))

    @admin.display(description="Patient", ordering="family_name")
    def name(self, patient):
        return str(patient)

    @admin.display(description="Born", ordering="birth_date")
    def born(self, patient):
        return show.day(patient.birth_date) if patient.birth_date else show.UNKNOWN

    @admin.display(description="Does not want")
    def unwanted(self, patient):
        wishes = patient.optouts.order_by("channel", "category")
        return "; ".join(f"{wish} since {show.when(wish.since, patient.site.zone)}" for wish in wishes) or show.NOTHING

    @admin.display(description="Can we write?")
    def reach(self, patient):
        return standing(patient)
