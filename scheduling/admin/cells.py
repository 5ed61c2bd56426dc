"""Step 4 at the desk: products, lots and units that come from outside, and what was harvested from the patient."""

from django import forms
from django.contrib import admin

from clinic.admin import show
from clinic.admin.pages import DateTimeInput, DeskAdmin, Panel, VisibleRelatedFilter
from clinic.admin.steps import ReasonForm, StepAction, StepAdmin, StepForm, can_become
from clinic.desk import CELLS
from clinic.models import Practitioner, Site
from scheduling import preparation
from scheduling.models import Harvest, Lot, Product, Unit
from scheduling.states import HARVEST_MOVES, LOT_MOVES, UNIT_MOVES, HarvestStatus, LotStatus, UnitStatus


@admin.register(Product)
class ProductAdmin(DeskAdmin):
    section, place = CELLS, 10
    question = "What may be injected here?"
    empty = "None yet. Products are loaded with: manage.py load_reference."
    list_display = (
        "name",
        "source",
        "regulatory_basis",
        "regulatory_expires_on",
        "post_thaw_limit_minutes",
        "lead_days",
    )
    search_fields = ("name", "code")
    fieldsets = (
        ("What is it?", {"fields": ("name", "code", "source")}),
        (
            "On which legal basis may it be given?",
            {
                "fields": (
                    "regulatory_basis",
                    "regulatory_reference",
                    "regulatory_expires_on",
                    "regulatory_note",
                )
            },
        ),
        (
            "How long is it good?",
            {"fields": ("thaw_minutes", "post_thaw_limit_minutes", "expiry_margin_minutes", "lead_days")},
        ),
    )


class LotForm(StepForm):
    site = forms.ModelChoiceField(Site.objects.order_by("name"), label="Clinic", empty_label=None)
    product = forms.ModelChoiceField(Product.objects.order_by("name"), empty_label=None)
    number = forms.CharField(label="Lot number", max_length=60)
    expires_at = forms.DateTimeField(label="Expires", widget=DateTimeInput)


class UnitForm(StepForm):
    identifier = forms.CharField(max_length=60, help_text="Donation or unit identifier (ISBT 128), as on the label.")
    storage = forms.CharField(label="Where is it kept?", max_length=120, required=False)
    safe_until = forms.DateTimeField(
        label="Safe in its shipper until", widget=DateTimeInput, required=False, help_text="Only if it stays in one."
    )


class NewUnitForm(UnitForm):
    lot = forms.ModelChoiceField(Lot.objects.select_related("product").order_by("product__name", "number"))
    field_order = ("lot",)


class MatchForm(StepForm):
    """Two people match the unit or the kit with the patient before anything cannot be undone."""

    first_person = forms.ChoiceField(label="Matched by")
    second_person = forms.ChoiceField(label="and by", help_text="Somebody else: two people match patient and cells.")

    def prepare(self):
        names = people_of(self.row)
        for name in ("first_person", "second_person"):
            self.fields[name].choices = [("", "-"), *((person, person) for person in names)]

    def arguments(self):
        given = super().arguments()
        given["matched_by"] = (given.pop("first_person"), given.pop("second_person"))
        return given


def people_of(row):
    """Everybody who works at the site of `row`, by name."""
    found = Practitioner.objects.filter(site=show.site_of(row), active=True)
    return list(found.order_by("name").values_list("name", flat=True))


def receive_lot(*, product, **given):
    return preparation.receive_lot(product, **given)


def receive_unit(*, lot, **given):
    return preparation.receive_unit(lot, **given)


def thaw(unit, *, matched_by, by, at):
    return preparation.thaw(unit, matched_by=matched_by, by=by, at=at)


@admin.register(Lot)
class LotAdmin(StepAdmin):
    section, place = CELLS, 20
    question = "Which lots are in the house?"
    empty = "None yet. Receive one here; it waits in quarantine until it is released."
    list_display = ("number", "product", "expires", "status_shown", "in_store", "site")
    list_filter = ("status", "product", ("site", VisibleRelatedFilter))
    list_select_related = ("product", "site")
    search_fields = ("number", "product__name")
    ordering = ("expires_at", "pk")
    fieldsets = ((None, {"fields": ("product", "number", "expires", "site")}),)
    readonly_fields = ("expires",)
    panels = (Panel("Units of this lot", lambda lot, request: units_of(lot)),)
    adding = StepAction(
        name="add",
        label="Receive a lot",
        take=receive_lot,
        form=LotForm,
        consequence="The lot waits in quarantine. Nothing of it can be booked until it is released.",
        done=lambda lot: f"{lot} is received, in quarantine. Next: receive its units, then release it.",
    )
    steps = (
        StepAction(
            name="release",
            label="Release",
            take=preparation.release_lot,
            available=can_become(LOT_MOVES, LotStatus.RELEASED),
            consequence="Its units can be given to patients from now on.",
            done=lambda lot: f"{lot} is released.",
            main=True,
        ),
        StepAction(
            name="receive-unit",
            label="Receive a unit",
            take=preparation.receive_unit,
            form=UnitForm,
            available=lambda lot: lot.status != LotStatus.RECALLED,
            permission="scheduling.add_unit",
            consequence="One vial of this lot. Scan or type what is on its label.",
            done=lambda unit: f"Unit {unit.identifier} is in store.",
            then=lambda unit: unit.lot,
        ),
        StepAction(
            name="recall",
            label="Recall",
            take=preparation.recall_lot,
            form=ReasonForm,
            available=can_become(LOT_MOVES, LotStatus.RECALLED),
            consequence="No unit of this lot may be given to anybody. Booked procedures that had one are flagged and "
            "need "
            "another unit. It cannot be undone.",
            done=lambda lot: f"{lot} is recalled. Next: look at the booked procedures that need another unit.",
            destructive=True,
        ),
    )

    def get_queryset(self, request):
        return super().get_queryset(request).select_related("product", "site").prefetch_related("units")

    @admin.display(description="Expires", ordering="expires_at")
    def expires(self, lot):
        return show.when(lot.expires_at, lot.site.zone)

    @admin.display(description="State", ordering="status")
    def status_shown(self, lot):
        return show.state(lot)

    @admin.display(description="In store")
    def in_store(self, lot):
        return sum(unit.status == UnitStatus.RECEIVED for unit in lot.units.all())


def units_of(lot):
    rows = (
        (show.link(unit), show.state(unit), unit.storage or show.NOTHING, show.link(unit.appointment))
        for unit in lot.units.select_related("appointment__episode__patient").order_by("identifier")
    )
    return show.table(("Unit", "State", "Kept in", "For"), rows, empty='None yet. Choose "Receive a unit" above.')


@admin.register(Unit)
class UnitAdmin(StepAdmin):
    section, place = CELLS, 30
    question = "Which unit is where, and for whom?"
    empty = "None yet. Units are received on the page of their lot."
    list_display = ("identifier", "product", "for_whom", "status_shown", "expires", "storage")
    list_filter = ("status", "lot__product", ("lot__site", VisibleRelatedFilter))
    list_select_related = ("lot__product", "lot__site", "appointment__episode__patient")
    search_fields = ("identifier", "lot__number", "appointment__episode__patient__family_name")
    ordering = ("lot__expires_at", "identifier")
    fieldsets = (
        ("Which unit?", {"fields": ("identifier", "lot", "expires", "received", "safe", "storage")}),
        ("What became of it?", {"fields": ("appointment", "thawed", "matched_by", "discard_reason")}),
    )
    readonly_fields = ("expires", "received", "safe", "thawed")
    adding = StepAction(
        name="add",
        label="Receive a unit",
        take=receive_unit,
        form=NewUnitForm,
        consequence="One vial. Scan or type what is on its label.",
        done=lambda unit: f"Unit {unit.identifier} is in store.",
    )
    steps = (
        StepAction(
            name="thaw",
            label="Thaw",
            take=thaw,
            form=MatchForm,
            available=can_become(UNIT_MOVES, UnitStatus.THAWED),
            consequence="The clock of this unit starts now: it must be injected within the limit of its product. A "
            "thawed "
            "unit cannot go back into store.",
            done=lambda unit: f"Unit {unit.identifier} is being thawed. Next: inject it in time.",
            main=True,
        ),
        StepAction(
            name="discard",
            label="Discard",
            take=preparation.discard,
            form=ReasonForm,
            available=can_become(UNIT_MOVES, UnitStatus.DISCARDED),
            consequence="The unit is gone. It cannot be undone. A procedure that counted on it needs another one.",
            done=lambda unit: f"Unit {unit.identifier} is discarded.",
            destructive=True,
        ),
    )

    @admin.display(description="Product", ordering="lot__product__name")
    def product(self, unit):
        return f"{unit.lot.product.name}, lot {unit.lot.number}"

    @admin.display(description="For")
    def for_whom(self, unit):
        return str(unit.appointment.episode.patient) if unit.appointment else show.NOTHING

    @admin.display(description="State", ordering="status")
    def status_shown(self, unit):
        return show.state(unit)

    @admin.display(description="Expires", ordering="lot__expires_at")
    def expires(self, unit):
        return show.when(unit.lot.expires_at, unit.lot.site.zone)

    @admin.display(description="Received")
    def received(self, unit):
        return show.when(unit.received_at, unit.lot.site.zone)

    @admin.display(description="Safe in its shipper until")
    def safe(self, unit):
        return show.when(unit.safe_until, unit.lot.site.zone)

    @admin.display(description="Thaw started")
    def thawed(self, unit):
        return show.when(unit.thaw_started_at, unit.lot.site.zone)


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
