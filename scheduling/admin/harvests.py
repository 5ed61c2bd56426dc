"""Step 4 at the desk, the patient's own cells: what was harvested, into which kit, and whether it is ready."""

from django import forms
from django.contrib import admin

from clinic.admin import show
from clinic.admin.pages import VisibleRelatedFilter
from clinic.admin.steps import ReasonForm, StepAction, StepAdmin, StepForm, can_become
from clinic.desk import CELLS
from scheduling import preparation
from scheduling.models import Harvest
from scheduling.states import HARVEST_MOVES, HarvestStatus


class ReadyForm(StepForm):
    cells_million = forms.DecimalField(
        label="Cells (million)", min_value=0, max_digits=8, decimal_places=2, required=False
    )
    viability_pct = forms.DecimalField(
        label="Viability (%)", min_value=0, max_value=100, max_digits=4, decimal_places=1, required=False
    )


@admin.register(Harvest)
class HarvestAdmin(StepAdmin):
    section, place = CELLS, 40
    question = "What was harvested, and is it ready?"
    empty = "None yet. A harvest is recorded on the page of the day, once the patient has arrived."
    list_display = ("patient_name", "kit", "tissue", "volume_ml", "harvested", "status_shown")
    list_filter = ("status", "tissue", ("appointment__site", VisibleRelatedFilter))
    list_select_related = ("appointment__episode__patient", "appointment__site")
    search_fields = ("kit", "appointment__episode__patient__family_name", "appointment__episode__patient__mrn")
    ordering = ("-harvested_at", "pk")
    fieldsets = (
        ("Whose cells?", {"fields": ("patient_name", "appointment", "kit")}),
        ("What was taken?", {"fields": ("tissue", "volume_ml", "harvested", "harvested_by")}),
        ("What came of it?", {"fields": ("cells_million", "viability_pct", "notes")}),
    )
    readonly_fields = ("patient_name", "harvested")
    steps = (
        StepAction(
            name="ready",
            label="Processed and ready",
            take=preparation.harvest_ready,
            form=ReadyForm,
            available=can_become(HARVEST_MOVES, HarvestStatus.READY),
            consequence="The cells can be injected, into the patient they came from and nobody else.",
            done=lambda harvest: f"Kit {harvest.kit} is ready. Next: the injection.",
            main=True,
        ),
        StepAction(
            name="failed",
            label="Failed",
            take=preparation.harvest_failed,
            form=ReasonForm,
            available=can_become(HARVEST_MOVES, HarvestStatus.FAILED),
            consequence="There are no cells to inject from this harvest. It cannot be undone.",
            done=lambda harvest: (
                f"The harvest with kit {harvest.kit} failed. Next: speak to the patient about another day."
            ),
            destructive=True,
        ),
        StepAction(
            name="discard",
            label="Discard",
            take=preparation.discard_harvest,
            form=ReasonForm,
            available=can_become(HARVEST_MOVES, HarvestStatus.DISCARDED),
            consequence="These cells are gone. It cannot be undone.",
            done=lambda harvest: f"Kit {harvest.kit} is discarded.",
            destructive=True,
        ),
    )

    @admin.display(description="Patient", ordering="appointment__episode__patient__family_name")
    def patient_name(self, harvest):
        return str(harvest.appointment.episode.patient)

    @admin.display(description="Harvested", ordering="harvested_at")
    def harvested(self, harvest):
        return show.when(harvest.harvested_at, harvest.appointment.site.zone)

    @admin.display(description="State", ordering="status")
    def status_shown(self, harvest):
        return show.state(harvest)
