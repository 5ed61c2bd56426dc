"""What is asked at an evaluation, in the order a coordinator asks it. An open question stays "not known"."""

from django import forms
from django.forms import fields_for_model, formset_factory
from django.utils import timezone

from clinic.admin.pages import DateInput
from clinic.admin.steps import StepForm
from scheduling.models import Evaluation
from scheduling.models.evaluation import Treatment
from scheduling.models.mri import LUMBAR

PAIN = ("pain_since", "back_pain_vas_mm", "leg_pain_vas_mm", "odi_pct")
TRIED = ("treatments_reviewed", "opioid_mme_per_day")
EXAMINED = ("bmi", "translation_mm", "angular_deg", "t_score")
PICTURES = ("mri", "target_levels")
AGAINST = (
    "facet_primary",
    "radiculopathy_from_compression",
    "active_infection",
    "discitis",
    "prior_surgery_at_level",
    "prior_intradiscal_cell_product_at_level",
    "systemic_immunosuppressant",
    "mri_contraindicated",
    "pregnant",
    "breastfeeding",
    "childbearing_potential",
)
QUESTIONS = (
    ("When and by whom?", ("evaluated_on",)),
    ("Which pain, and since when?", PAIN),
    ("What was tried before?", TRIED),
    ("What did the examination show?", EXAMINED),
    ("What does the MRI show, and which discs are meant?", PICTURES),
    ("Is there anything against it?", AGAINST),
    ("Anything else?", ("notes",)),
)
ANSWERS = (("", "not known"), ("yes", "yes"), ("no", "no"))


def said(answer):
    return {"yes": True, "no": False}[answer]


def label_of(name):
    """The name of a finding as people write it."""
    words = str(Evaluation._meta.get_field(name).verbose_name)
    return (words[:1].upper() + words[1:]).replace("Mri", "MRI")


class TreatmentForm(forms.Form):
    kind = forms.ChoiceField(label="What", choices=[("", "-"), *Treatment.choices])
    started_on = forms.DateField(label="From", widget=DateInput)
    ended_on = forms.DateField(label="Until", widget=DateInput, required=False, help_text="empty: still going on")
    detail = forms.CharField(label="Detail", max_length=200, required=False)


class FindingsForm(StepForm):
    tables = {"treatments": ("Which treatments were tried, with their dates?", formset_factory(TreatmentForm, extra=5))}
    sections = QUESTIONS

    def prepare(self):
        names = [name for _, names in QUESTIONS for name in names]
        self.fields.update(fields_for_model(Evaluation, fields=[n for n in names if n not in AGAINST]))
        for name in ("evaluated_on", "pain_since"):
            self.fields[name].widget = DateInput()
        for name in AGAINST:
            self.fields[name] = forms.TypedChoiceField(
                label=label_of(name),
                choices=ANSWERS,
                coerce=said,
                empty_value=None,
                required=False,
                widget=forms.RadioSelect,
            )
        self.fields["mri"].label = "MRI study"
        self.fields["evaluated_on"].initial = timezone.localdate()
        self.fields["notes"].widget.attrs["rows"] = 3
        self.fields["target_levels"] = forms.MultipleChoiceField(
            label="Disc levels to treat",
            choices=[(level.value, level.value) for level in LUMBAR],
            widget=forms.CheckboxSelectMultiple,
            required=False,
        )
        studies = self.row.patient.mri_studies.order_by("-acquired_on")
        self.fields["mri"].queryset = studies
        self.fields["mri"].label_from_instance = named
        self.fields["mri"].help_text = "Only studies of this patient. Not there? Enter it under MRI studies first."


def named(study):
    return f"{study.identifier}, {study.acquired_on:%d %b %Y}" if study.acquired_on else f"{study.identifier}, no date"
