"""Step 4 at the desk, what comes into the house: products, and lots that are received, checked, released, recalled."""

from django import forms
from django.contrib import admin

from clinic.admin import show
from clinic.admin.pages import DateTimeInput, DeskAdmin, Panel, VisibleRelatedFilter
from clinic.admin.steps import ReasonForm, StepAction, StepAdmin, StepForm, can_become
from clinic.desk import CELLS
from clinic.models import Site
from scheduling import preparation
from scheduling.admin.cells import UnitForm, kept_in, people_of
from scheduling.models import Lot, Product
from scheduling.models.product import Shipper
from scheduling.states import LOT_MOVES, LotStatus, UnitStatus


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
        ("How cold must it come?", {"fields": ("transport_celsius_min", "transport_celsius_max")}),
    )


class LotForm(StepForm):
    site = forms.ModelChoiceField(Site.objects.order_by("name"), label="Clinic", empty_label=None)
    product = forms.ModelChoiceField(Product.objects.order_by("name"), empty_label=None)
    number = forms.CharField(label="Lot number", max_length=60)
    expires_at = forms.DateTimeField(label="Expires", widget=DateTimeInput)
    dose_million = forms.DecimalField(
        label="Cells in each unit (million)",
        min_value=0,
        max_digits=8,
        decimal_places=2,
        required=False,
        help_text="Only if the product comes in more than one dose.",
    )


class ReceiptForm(StepForm):
    celsius = forms.DecimalField(
        label="Temperature (°C)", max_digits=5, decimal_places=1, help_text="The warmest that its logger shows."
    )
    shipper = forms.ChoiceField(label="Shipper", choices=Shipper.choices)
    units_announced = forms.IntegerField(label="Units announced", min_value=0, max_value=30000)
    units_counted = forms.IntegerField(label="Units counted", min_value=0, max_value=30000)
    checked_by = forms.ChoiceField(label="Checked by")

    def prepare(self):
        self.fields["checked_by"].choices = [("", "-"), *((name, name) for name in people_of(self.row))]


def receive_lot(*, product, **given):
    return preparation.receive_lot(product, **given)


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
    fieldsets = ((None, {"fields": ("product", "number", "expires", "dose_million", "site")}),)
    readonly_fields = ("expires",)
    panels = (
        Panel("Units of this lot", lambda lot, request: units_of(lot)),
        Panel("How it came", lambda lot, request: checks_of(lot)),
    )
    adding = StepAction(
        name="add",
        label="Receive a lot",
        take=receive_lot,
        form=LotForm,
        consequence="The lot waits in quarantine. Nothing of it can be booked until it is checked and released.",
        done=lambda lot: f"{lot} is received, in quarantine. Next: record its receipt check, and receive its units.",
    )
    steps = (
        StepAction(
            name="check",
            label="Record the receipt check",
            take=preparation.check_receipt,
            form=ReceiptForm,
            available=lambda lot: lot.status != LotStatus.RECALLED,
            permission="scheduling.add_receiptcheck",
            consequence="What does not pass stays in quarantine, and goes back there if it was released: too warm or "
            "too cold, a shipper that was opened, another number of units than announced.",
            done=lambda check: (
                f"Checked: {check.lot} passed. Next: release it."
                if check.passed
                else f"Checked: {check.lot} stays in quarantine. {check.findings}"
            ),
            then=lambda check: check.lot,
        ),
        StepAction(
            name="release",
            label="Release",
            take=preparation.release_lot,
            form=ReasonForm,
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
            name="quarantine",
            label="Back into quarantine",
            take=preparation.quarantine_lot,
            form=ReasonForm,
            available=can_become(LOT_MOVES, LotStatus.QUARANTINED),
            consequence="Nothing of this lot is given to anybody until it is released again. Booked procedures that "
            "had a unit of it are given the next that expires; those for which there is none are on the first page.",
            done=lambda lot: f"{lot} is in quarantine. Next: look at the booked procedures that need another unit.",
            destructive=True,
        ),
        StepAction(
            name="recall",
            label="Recall",
            take=preparation.recall_lot,
            form=ReasonForm,
            available=can_become(LOT_MOVES, LotStatus.RECALLED),
            consequence="No unit of this lot may be given to anybody. Booked procedures that had one are given the "
            "next that expires; those for which there is none are on the first page. It cannot be undone.",
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
        (show.link(unit), show.state(unit), kept_in(unit), show.link(unit.appointment))
        for unit in lot.units.select_related("appointment__episode__patient").order_by("identifier")
    )
    return show.table(("Unit", "State", "Kept in", "For"), rows, empty='None yet. Choose "Receive a unit" above.')


def checks_of(lot):
    rows = (
        (
            show.when(check.checked_at, lot.site.zone),
            show.badge("pass", "Passed") if check.passed else show.badge("fail", "Not passed"),
            f"{check.celsius} °C. {check.get_shipper_display()}. {check.units_counted} of {check.units_announced} "
            f"units. {'' if check.passed else check.findings}",
            check.checked_by,
        )
        for check in lot.receipt_checks.order_by("-checked_at", "-pk")
    )
    empty = 'Not checked yet. Choose "Record the receipt check" above.'
    return show.table(("When", "Result", "What was found", "Checked by"), rows, empty=empty)
