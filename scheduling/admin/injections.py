"""Step 5 at the desk: what was injected, where and when. Its end is the anchor of everything that follows."""

from django import forms
from django.contrib import admin
from django.forms import formset_factory

from clinic.admin import show
from clinic.admin.pages import DateTimeInput, Panel, VisibleRelatedFilter
from clinic.admin.steps import StepAction, StepAdmin, add_steps
from clinic.desk import DAYS
from scheduling import injections
from scheduling.admin.cells import MatchForm, people_of
from scheduling.models import Appointment, Injection
from scheduling.models.mri import Level
from scheduling.models.product import CellSource
from scheduling.models.protocol import StepCode, Visit
from scheduling.states import AppointmentStatus


class LevelForm(forms.Form):
    level = forms.ChoiceField(label="Disc", choices=[(level.value, level.value) for level in Level])
    volume_ml = forms.DecimalField(
        label="Volume (mL)",
        min_value=0,
        max_digits=4,
        decimal_places=2,
        required=False,
        help_text="empty: not injected",
    )
    cells_million = forms.DecimalField(
        label="Cells (million)", min_value=0, max_digits=8, decimal_places=2, required=False
    )


class InjectionForm(MatchForm):
    started_at = forms.DateTimeField(label="Needle in", widget=DateTimeInput, help_text="The clinic's own time.")
    ended_at = forms.DateTimeField(
        label="Needle out", widget=DateTimeInput, help_text="From this moment every follow-up date is counted."
    )
    injected_by = forms.ChoiceField(label="Injected by")
    needle_gauge = forms.IntegerField(label="Needle (gauge)", min_value=14, max_value=30, initial=22)
    matched_at = forms.DateTimeField(
        label="Time-out", widget=DateTimeInput, required=False, help_text="Empty: as the needle went in."
    )
    kit = forms.CharField(label="Kit id, read at time-out", max_length=60)
    pregnancy_test_result = forms.ChoiceField(
        label="Pregnancy test today",
        choices=[("", "-"), ("negative", "negative"), ("positive", "positive")],
        required=False,
    )
    hours_since_test = forms.DecimalField(label="Hours since the test", min_value=0, max_value=999, required=False)
    fluoroscopy_seconds = forms.IntegerField(label="Fluoroscopy (seconds)", min_value=0, required=False)
    dose_area_product = forms.DecimalField(
        label="Dose-area product (Gy cm2)", min_value=0, max_digits=8, decimal_places=3, required=False
    )
    air_kerma_mgy = forms.DecimalField(
        label="Air kerma (mGy)", min_value=0, max_digits=8, decimal_places=2, required=False
    )
    notes = forms.CharField(widget=forms.Textarea(attrs={"rows": 3}), required=False, max_length=10000)
    tables = {"levels": ("What went into which disc?", formset_factory(LevelForm, extra=0))}
    sections = (
        ("When, and by whom?", ("started_at", "ended_at", "injected_by", "needle_gauge")),
        ("Are these the right cells for this patient?", ("matched_at", "kit", "first_person", "second_person")),
        ("What was checked on the day?", ("pregnancy_test_result", "hours_since_test")),
        ("How much fluoroscopy?", ("fluoroscopy_seconds", "dose_area_product", "air_kerma_mgy")),
        ("Anything else?", ("notes",)),
    )

    def prepare(self):
        super().prepare()
        step = self.row.steps.filter(code=StepCode.INJECTION).first()
        if step:
            self.fields["started_at"].initial = step.during.lower
            self.fields["ended_at"].initial = step.during.upper
        self.fields["injected_by"].choices = [("", "-"), *((name, name) for name in people_of(self.row))]
        if self.row.episode.protocol.product.source == CellSource.ALLOGENEIC:
            del self.fields["kit"]
        if self.row.episode.verdict.evaluation.childbearing_potential is False:
            del self.fields["pregnancy_test_result"], self.fields["hours_since_test"]
        self.sections = tuple(
            (title, names) for title, names in self.sections if any(name in self.fields for name in names)
        )

    def initial_rows(self, name):
        return [{"level": level} for level in self.row.episode.target_levels]

    def arguments(self):
        given = super().arguments()
        given["levels"] = [level for level in given["levels"] if level.get("volume_ml")]
        asked = {name: given.pop(name) for name in ("pregnancy_test_result", "hours_since_test") if name in given}
        given["day_facts"] = {name: value for name, value in asked.items() if value not in (None, "")}
        return given


add_steps(
    Appointment,
    StepAction(
        name="inject",
        label="Record the injection",
        take=injections.record,
        form=InjectionForm,
        available=lambda appointment: (
            appointment.status == AppointmentStatus.ARRIVED and appointment.visit == Visit.PROCEDURE
        ),
        permission="scheduling.record_injection",
        consequence="This completes the procedure day. All follow-up dates are counted from the end of the injection. "
        "It cannot be undone.",
        done=lambda injection: (
            f"The injection of {injection.episode.patient} is recorded; the follow-up dates are "
            "fixed now. Next: the discharge score in recovery."
        ),
        then=lambda injection: injection.appointment,
        main=True,
    ),
)


@admin.register(Injection)
class InjectionAdmin(StepAdmin):
    section, place = DAYS, 20
    question = "Who was injected, where and with what?"
    empty = "None yet. An injection is recorded on the page of a procedure day, once the patient has arrived."
    list_display = ("patient_name", "ended", "levels_shown", "injected_by", "product")
    list_filter = (("appointment__site", VisibleRelatedFilter),)
    list_select_related = ("episode__patient", "episode__protocol__product", "appointment__site")
    shows_next = False
    search_fields = ("episode__patient__family_name", "episode__patient__given_name", "episode__patient__mrn", "kit")
    ordering = ("-ended_at", "pk")
    fieldsets = (
        ("Who, when and by whom?", {"fields": ("episode", "appointment", "started", "ended", "injected_by")}),
        ("Which cells, matched by whom?", {"fields": ("product", "kit", "matched_by", "matched", "needle_gauge")}),
        ("How much fluoroscopy?", {"fields": ("fluoroscopy_seconds", "dose_area_product", "air_kerma_mgy")}),
        ("Anything else?", {"fields": ("notes",)}),
    )
    readonly_fields = ("started", "ended", "matched", "product")
    panels = (Panel("What went into which disc", lambda injection, request: levels_of(injection), first=True),)

    def get_queryset(self, request):
        return super().get_queryset(request).prefetch_related("levels")

    @admin.display(description="Patient", ordering="episode__patient__family_name")
    def patient_name(self, injection):
        return str(injection.episode.patient)

    @admin.display(description="Began")
    def started(self, injection):
        return show.when(injection.started_at, injection.appointment.site.zone)

    @admin.display(description="Ended", ordering="ended_at")
    def ended(self, injection):
        return show.when(injection.ended_at, injection.appointment.site.zone)

    @admin.display(description="Matched at")
    def matched(self, injection):
        return show.when(injection.matched_at, injection.appointment.site.zone)

    @admin.display(description="Discs")
    def levels_shown(self, injection):
        return ", ".join(level.level for level in injection.levels.all())

    @admin.display(description="Product")
    def product(self, injection):
        return injection.episode.protocol.product.name


def levels_of(injection):
    rows = (
        (
            level.level,
            f"{level.volume_ml} mL",
            show.UNKNOWN if level.cells_million is None else f"{level.cells_million} million",
        )
        for level in injection.levels.order_by("pk")
    )
    return show.table(("Disc", "Volume", "Cells"), rows, empty="No level recorded.")
