"""MRI studies at the desk: entered by hand or imported, read disc by disc, and given to the patient they belong to."""

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.forms import formset_factory

from clinic.admin import show
from clinic.admin.pages import DateInput, Panel, VisibleRelatedFilter, add_panels
from clinic.admin.steps import StepAction, StepAdmin, StepForm
from clinic.desk import PEOPLE
from clinic.models import Patient
from scheduling import studies
from scheduling.models import MriStudy
from scheduling.models.mri import LUMBAR, Level, Scale

ANSWERS = (("", "?"), ("yes", "yes"), ("no", "no"))


class DiscForm(forms.Form):
    """One disc as a reader saw it. A row without a grade is a disc that was not read."""

    level = forms.ChoiceField(label="Disc", choices=[(level.value, level.value) for level in Level])
    grade = forms.IntegerField(label="Grade", min_value=1, max_value=8, required=False)
    modic = forms.TypedChoiceField(
        label="Modic",
        choices=[("", "?"), *((str(n), str(n)) for n in range(4))],
        coerce=int,
        empty_value=None,
        required=False,
    )
    spondylolisthesis_grade = forms.IntegerField(label="Slip grade", min_value=0, max_value=5, required=False)
    height_loss_pct = forms.IntegerField(label="Height loss %", min_value=0, max_value=100, required=False)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for name, label in (("herniation", "Herniation"), ("narrowing", "Narrowing"), ("bulging", "Bulging")):
            self.fields[name] = forms.TypedChoiceField(
                label=label,
                choices=ANSWERS,
                coerce=lambda answer: {"yes": True, "no": False}[answer],
                empty_value=None,
                required=False,
            )


class ReadingForm(StepForm):
    """The scale of a reading and its discs; for a baseline study and for a follow-up alike."""

    acquired_on = forms.DateField(label="Made on", widget=DateInput)
    scale = forms.ChoiceField(
        label="Graded on which scale?",
        choices=Scale.choices,
        help_text="Grades of the two scales are not interchangeable.",
    )
    read_by = forms.CharField(label="Read by", max_length=120, required=False)
    report = forms.CharField(label="Report", widget=forms.Textarea(attrs={"rows": 3}), required=False, max_length=10000)
    tables = {
        "discs": (
            'What was seen in which disc? Leave the grade empty where a disc was not read; "?" means not known.',
            formset_factory(DiscForm, extra=0),
        )
    }

    def initial_rows(self, name):
        return [{"level": level} for level in LUMBAR]

    def arguments(self):
        given = super().arguments()
        given["discs"] = [disc for disc in given["discs"] if disc.get("grade")]
        for disc in given["discs"]:
            slip = disc["spondylolisthesis_grade"]
            disc["spondylolisthesis"] = None if slip is None else slip > 0
        return given


class StudyForm(ReadingForm):
    patient = forms.ModelChoiceField(
        Patient.objects.all(),
        widget=AutocompleteSelect(MriStudy._meta.get_field("patient"), admin.site),
        help_text="Type a name or a record number.",
    )
    identifier = forms.CharField(label="Study number", max_length=100, help_text="As it is named where it was made.")
    field_order = ("patient", "identifier", "acquired_on")

    def arguments(self):
        given = super().arguments()
        scale = given.pop("scale")
        return {**given, "discs": [{**disc, "scale": scale} for disc in given["discs"]]}


class AssignForm(StepForm):
    patient = forms.ModelChoiceField(
        Patient.objects.all(),
        widget=AutocompleteSelect(MriStudy._meta.get_field("patient"), admin.site),
        help_text="Whose spine is it? Type a name or a record number.",
    )


class AssignedFilter(admin.SimpleListFilter):
    title = "whose"
    parameter_name = "assigned"

    def lookups(self, request, model_admin):
        return (("no", "Waiting for a patient"), ("yes", "Belongs to a patient"))

    def queryset(self, request, queryset):
        chosen = {"no": {"patient__isnull": True}, "yes": {"patient__isnull": False}}
        return queryset.filter(**chosen.get(self.value(), {}))


@admin.register(MriStudy)
class MriStudyAdmin(StepAdmin):
    section, place = PEOPLE, 50
    question = "Which MRI studies are there?"
    empty = "None yet. Enter one here, or import a file with: manage.py import_mri FILE."
    list_display = ("whose", "identifier", "on", "discs", "read_by")
    list_filter = (AssignedFilter, ("site", VisibleRelatedFilter))
    list_select_related = ("patient", "site")
    search_fields = ("identifier", "patient__family_name", "patient__given_name", "patient__mrn")
    ordering = ("-acquired_on", "pk")
    fieldsets = (
        ("Whose, and when?", {"fields": ("patient", "identifier", "on", "site")}),
        ("Who read it?", {"fields": ("read_by", "scanner", "field_strength_tesla", "report")}),
    )
    readonly_fields = ("on",)
    panels = (Panel("What was seen, disc by disc", lambda study, request: discs_of(study), first=True),)
    adding = StepAction(
        name="add",
        label="Enter an MRI study",
        take=lambda *, patient, **given: studies.record(patient, **given),
        form=StudyForm,
        consequence="The study can then be used in an evaluation of this patient.",
        done=lambda study: f"The MRI of {study.patient} is entered.",
    )
    steps = (
        StepAction(
            name="assign",
            label="Say whose it is",
            take=studies.assign,
            form=AssignForm,
            available=lambda study: study.patient_id is None,
            consequence="The study becomes part of this patient's record and can be used in an evaluation.",
            done=lambda study: f"The study {study.identifier} belongs to {study.patient} now.",
            main=True,
        ),
    )

    def get_queryset(self, request):
        return super().get_queryset(request).prefetch_related("discs")

    @admin.display(description="Patient", ordering="patient__family_name")
    def whose(self, study):
        return str(study.patient) if study.patient else show.badge("draft", "not known yet")

    @admin.display(description="Made on", ordering="acquired_on")
    def on(self, study):
        return show.day(study.acquired_on) if study.acquired_on else show.UNKNOWN

    @admin.display(description="Grades")
    def discs(self, study):
        return ", ".join(f"{disc.level}: {disc.grade}" for disc in study.discs.all()) or show.NOTHING


def discs_of(study):
    """The reading of a study as a table, one disc a row."""
    if study is None:
        return show.table((), (), empty="No MRI study is attached.")
    rows = (
        (
            disc.level,
            f"{disc.grade} ({disc.get_scale_display()})",
            show.known(disc.modic),
            show.known(disc.spondylolisthesis_grade),
            show.UNKNOWN if disc.height_loss_pct is None else f"{disc.height_loss_pct} %",
            show.yes_no(disc.herniation),
            show.yes_no(disc.narrowing),
            show.yes_no(disc.bulging),
        )
        for disc in study.discs.all()
    )
    columns = ("Disc", "Grade", "Modic", "Slip grade", "Height loss", "Herniation", "Narrowing", "Bulging")
    return show.table(columns, rows, empty="No disc has been read yet.")


def studies_of(patient, request):
    rows = (
        (show.link(study, study.identifier), show.day(study.acquired_on) if study.acquired_on else show.UNKNOWN)
        for study in patient.mri_studies.order_by("-acquired_on", "pk")
    )
    return show.table(("Study", "Made on"), rows, empty="None yet. Enter one under MRI studies, or import a file.")


add_panels(Patient, Panel("MRI studies", studies_of))
