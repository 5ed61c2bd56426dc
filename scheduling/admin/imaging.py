"""MRI studies at the desk: entered by hand or imported, given to the patient they belong to, and read disc by disc: by
a first reader, by a second one whose form shows nothing of the first, and by both where they differ."""

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
from scheduling.models import MriStudy, Resource
from scheduling.models.mri import LUMBAR, Level, ReaderRole, Scale
from scheduling.models.protocol import ResourceKind

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


BLINDED = (("", "not known"), ("yes", "yes"), ("no", "no"))


class ScaleForm(StepForm):
    """The scale of a reading and its discs."""

    scale = forms.ChoiceField(
        label="Graded on which scale?",
        choices=Scale.choices,
        help_text="Grades of the two scales are not interchangeable.",
    )
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


class ScannerForm(StepForm):
    """On what a study was made."""

    device = forms.ModelChoiceField(
        Resource.objects.filter(kind=ResourceKind.MRI_SCANNER).order_by("name"),
        label="On our scanner",
        required=False,
        help_text="Empty: the one that was booked, or one elsewhere.",
    )
    scanner = forms.CharField(label="On a scanner elsewhere", max_length=120, required=False)
    field_strength_tesla = forms.DecimalField(
        label="Field strength (T)", min_value=0, max_digits=3, decimal_places=1, required=False
    )
    sequence = forms.CharField(label="Sequences", max_length=200, required=False, help_text="Sagittal T2 and T1.")


class MadeForm(ScannerForm):
    """When, where and how a study was made; for a baseline study and for a follow-up alike."""

    acquired_on = forms.DateField(label="Made on", widget=DateInput)
    field_order = ("acquired_on",)


class ReadingForm(MadeForm, ScaleForm):
    """A study together with its first reading."""

    field_order = ("acquired_on", *ScannerForm.base_fields, "scale")
    read_by = forms.CharField(label="Read by", max_length=120, required=False)
    report = forms.CharField(label="Report", widget=forms.Textarea(attrs={"rows": 3}), required=False, max_length=10000)


class StudyForm(ReadingForm):
    patient = forms.ModelChoiceField(
        Patient.objects.all(),
        widget=AutocompleteSelect(MriStudy._meta.get_field("patient"), admin.site),
        help_text="Type a name or a record number.",
    )
    identifier = forms.CharField(label="Study number", max_length=100, help_text="As it is named where it was made.")
    field_order = ("patient", "identifier", "acquired_on")

    def arguments(self):
        return scaled(super().arguments())


class ReaderForm(ScaleForm):
    """One reader's own view of a study: the form shows what nobody else has seen."""

    read_by = forms.CharField(label="Read by", max_length=120)
    blinded = forms.TypedChoiceField(
        label="Read without knowing how the patient feels?",
        choices=BLINDED,
        coerce=lambda answer: answer == "yes",
        empty_value=None,
        required=False,
    )
    field_order = ("read_by", "blinded", "scale")

    def arguments(self):
        return scaled(super().arguments())


class ConsensusForm(ScaleForm):
    """Only the discs in which the two readers differ."""

    read_by = forms.CharField(label="Agreed by", max_length=120, help_text="The names of both readers.")
    field_order = ("read_by", "scale")

    def initial_rows(self, name):
        return [{"level": level} for level in studies.to_agree(self.row)]

    def arguments(self):
        return scaled(super().arguments())


def scaled(given):
    """Each disc with the scale that the form asked for once."""
    scale = given.pop("scale")
    return {**given, "discs": [{**disc, "scale": scale} for disc in given["discs"]]}


def reads_as(role):
    return lambda study, **given: studies.read(study, role=role, **given)


def readings_say(study) -> str:
    levels = studies.to_agree(study)
    return f" The readers differ in {', '.join(levels)}: they agree on those next." if levels else ""


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


class ReadingFilter(admin.SimpleListFilter):
    title = "reading"
    parameter_name = "reading"

    def lookups(self, request, model_admin):
        return (("unread", "Nobody has read it"), ("disputed", "The readers differ"))

    def queryset(self, request, queryset):
        chosen = {"unread": studies.unread, "disputed": studies.disputed}.get(self.value())
        return queryset.filter(pk__in=chosen().order_by().values("pk")) if chosen else queryset


@admin.register(MriStudy)
class MriStudyAdmin(StepAdmin):
    section, place = PEOPLE, 50
    question = "Which MRI studies are there?"
    empty = "None yet. Enter one here, or import a file with: manage.py import_mri FILE."
    list_display = ("whose", "identifier", "on", "discs", "read_by")
    list_filter = (AssignedFilter, ReadingFilter, ("site", VisibleRelatedFilter))
    list_select_related = ("patient", "site")
    search_fields = ("identifier", "patient__family_name", "patient__given_name", "patient__mrn")
    ordering = ("-acquired_on", "pk")
    fieldsets = (
        ("Whose, and when?", {"fields": ("patient", "identifier", "on", "site")}),
        ("On what was it made?", {"fields": ("made", "field_strength_tesla", "sequence")}),
        ("Who read it?", {"fields": ("read_by", "report")}),
    )
    readonly_fields = ("on", "made")
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
        StepAction(
            name="describe",
            label="Say how it was made",
            take=studies.describe,
            form=ScannerForm,
            available=lambda study: study.patient_id is not None,
            consequence="A follow-up on another scanner than its baseline is warned about. What was said before stays "
            "in the trail.",
            done=lambda study: f"{study} was made on {study.made_on or 'a scanner that is not known'}.",
        ),
        StepAction(
            name="read",
            label="Enter the reading",
            take=reads_as(ReaderRole.FIRST),
            form=ReaderForm,
            available=lambda study: study.patient_id is not None and not studies.read_as(study, ReaderRole.FIRST),
            permission="scheduling.add_discreading",
            consequence="What the first reader saw, disc by disc. It is not edited afterwards; a second reader may "
            "read the study again.",
            done=lambda study: f"The reading of {study} is entered.",
            main=True,
        ),
        StepAction(
            name="second",
            label="Enter a second reading",
            take=reads_as(ReaderRole.SECOND),
            form=ReaderForm,
            available=lambda study: (
                bool(studies.read_as(study, ReaderRole.FIRST)) and not studies.read_as(study, ReaderRole.SECOND)
            ),
            permission="scheduling.add_discreading",
            consequence="Somebody else than the first reader, who has not seen the first grades. Where the two differ, "
            "they agree on a third reading.",
            done=lambda study: f"The second reading of {study} is entered.{readings_say(study)}",
        ),
        StepAction(
            name="consensus",
            label="Enter the consensus",
            take=reads_as(ReaderRole.CONSENSUS),
            form=ConsensusForm,
            available=lambda study: bool(studies.to_agree(study)),
            permission="scheduling.add_discreading",
            consequence="What both readers agree on, for the discs in which they differ. From then on it holds.",
            done=lambda study: f"The consensus for {study} is entered.",
            main=True,
        ),
    )

    def get_queryset(self, request):
        return super().get_queryset(request).select_related("patient", "site", "device").prefetch_related("discs")

    @admin.display(description="Scanner")
    def made(self, study):
        return show.known(study.made_on)

    @admin.display(description="Patient", ordering="patient__family_name")
    def whose(self, study):
        return str(study.patient) if study.patient else show.badge("draft", "not known yet")

    @admin.display(description="Made on", ordering="acquired_on")
    def on(self, study):
        return show.day(study.acquired_on) if study.acquired_on else show.UNKNOWN

    @admin.display(description="Grades")
    def discs(self, study):
        held = study.findings().items()
        return ", ".join(f"{level}: {disc.grade if disc else 'readers differ'}" for level, disc in held) or show.NOTHING


def discs_of(study):
    """The readings of a study as a table, one disc and reader a row."""
    if study is None:
        return show.table((), (), empty="No MRI study is attached.")
    rows = (
        (
            disc.level,
            disc.get_role_display() + (f": {disc.read_by}" if disc.read_by else ""),
            f"{disc.grade} ({disc.get_scale_display()})",
            show.known(disc.modic),
            show.known(disc.spondylolisthesis_grade),
            show.UNKNOWN if disc.height_loss_pct is None else f"{disc.height_loss_pct} %",
            show.yes_no(disc.herniation),
            show.yes_no(disc.narrowing),
            show.yes_no(disc.bulging),
        )
        for discs in study.by_level().values()
        for disc in discs
    )
    columns = ("Disc", "Read by", "Grade", "Modic", "Slip grade", "Height loss", "Herniation", "Narrowing", "Bulging")
    return show.table(columns, rows, empty="No disc has been read yet.")


def studies_of(patient, request):
    rows = (
        (show.link(study, study.identifier), show.day(study.acquired_on) if study.acquired_on else show.UNKNOWN)
        for study in patient.mri_studies.order_by("-acquired_on", "pk")
    )
    return show.table(("Study", "Made on"), rows, empty="None yet. Enter one under MRI studies, or import a file.")


add_panels(Patient, Panel("MRI studies", studies_of))
