"""Step 4 at the desk, units of a donor's cells: where each is kept, for whom it is, until when it may be used."""

from django import forms
from django.contrib import admin
from django.utils.html import format_html
from django.utils.timezone import now

from clinic.admin import show
from clinic.admin.pages import DateTimeInput, VisibleRelatedFilter
from clinic.admin.steps import ReasonForm, StepAction, StepAdmin, StepForm, add_steps, can_become
from clinic.desk import CELLS, Line, Queue, register
from clinic.models import Practitioner
from scheduling import cells, preparation
from scheduling.models import Appointment, Lot, Unit
from scheduling.models.product import CellSource
from scheduling.models.protocol import Visit
from scheduling.states import UNIT_MOVES, UnitStatus


class UnitForm(StepForm):
    identifier = forms.CharField(max_length=60, help_text="Donation or unit identifier (ISBT 128), as on the label.")
    storage = forms.CharField(label="Where is it kept?", max_length=120, required=False)
    shipper_hold_until = forms.DateTimeField(
        label="Its shipper holds it until", widget=DateTimeInput, required=False, help_text="Only if it stays in one."
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


class StorageForm(StepForm):
    storage = forms.CharField(label="Where is it kept now?", max_length=120)


class ChooseForm(ReasonForm):
    """Only units that may be given are offered, and the step looks again: nothing out of date is ever chosen."""

    unit = forms.ModelChoiceField(Unit.objects.select_related("lot__product"), empty_label=None)
    field_order = ("unit", "reason")

    def prepare(self):
        self.fields["unit"].queryset = cells.fitting(self.row).select_related("lot__site")
        self.fields["unit"].label_from_instance = lambda unit: (
            f"{unit}, good until {show.when(cells.good_until(unit), unit.lot.site.zone)}"
        )


def people_of(row):
    """Everybody who works at the site of `row`, by name."""
    found = Practitioner.objects.filter(site=show.site_of(row), active=True)
    return list(found.order_by("name").values_list("name", flat=True))


def receive_unit(*, lot, **given):
    return preparation.receive_unit(lot, **given)


class ChosenFilter(admin.SimpleListFilter):
    """The report of what was chosen by hand."""

    title = "order"
    parameter_name = "chosen"

    def lookups(self, request, model_admin):
        return (("yes", "Chosen by hand"),)

    def queryset(self, request, queryset):
        return queryset.exclude(chosen_because="") if self.value() == "yes" else queryset


@admin.register(Unit)
class UnitAdmin(StepAdmin):
    section, place = CELLS, 30
    question = "Which unit is where, and for whom?"
    empty = "None yet. Units are received on the page of their lot."
    list_display = ("identifier", "product", "for_whom", "status_shown", "good", "kept")
    list_filter = ("status", ChosenFilter, "lot__product", ("lot__site", VisibleRelatedFilter))
    list_select_related = ("lot__product", "lot__site", "appointment__episode__patient")
    search_fields = ("identifier", "lot__number", "appointment__episode__patient__family_name")
    ordering = ("lot__expires_at", "identifier")
    fieldsets = (
        ("Which unit?", {"fields": ("identifier", "lot", "expires", "received", "held", "storage")}),
        ("For whom?", {"fields": ("appointment", "chosen_because", "thaw_planned")}),
        ("What became of it?", {"fields": ("thawed", "used_by", "matched_by", "discard_reason")}),
    )
    readonly_fields = ("expires", "received", "held", "thaw_planned", "thawed", "used_by")
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
            take=preparation.thaw,
            form=MatchForm,
            available=can_become(UNIT_MOVES, UnitStatus.THAWED),
            consequence="The clock of this unit starts now: it must be injected within the limit of its product. A "
            "thawed "
            "unit cannot go back into store.",
            done=lambda unit: f"Unit {unit.identifier} is being thawed. Next: inject it in time.",
            main=True,
        ),
        StepAction(
            name="store",
            label="Move into storage",
            take=preparation.store_unit,
            form=StorageForm,
            available=lambda unit: unit.shipper_hold_until is not None and unit.status in cells.IN_STORE,
            consequence="The unit leaves the shipper it came in; the shipper's hold counts no longer.",
            done=lambda unit: f"Unit {unit.identifier} is kept in {unit.storage}.",
            main=lambda unit: unit.status == UnitStatus.RECEIVED,
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

    @admin.display(description="Good until", ordering="lot__expires_at")
    def good(self, unit):
        return good_until(unit)

    @admin.display(description="Kept in", ordering="storage")
    def kept(self, unit):
        return kept_in(unit)

    @admin.display(description="Expires")
    def expires(self, unit):
        return show.when(unit.lot.expires_at, unit.lot.site.zone)

    @admin.display(description="Received")
    def received(self, unit):
        return show.when(unit.received_at, unit.lot.site.zone)

    @admin.display(description="Held by its shipper until")
    def held(self, unit):
        return show.when(unit.shipper_hold_until, unit.lot.site.zone)

    @admin.display(description="Thaw planned")
    def thaw_planned(self, unit):
        return show.when(unit.appointment and cells.thaw_at(unit.appointment), unit.lot.site.zone)

    @admin.display(description="Thaw started")
    def thawed(self, unit):
        return show.when(unit.thaw_started_at, unit.lot.site.zone)

    @admin.display(description="To be injected by")
    def used_by(self, unit):
        return good_until(unit) if unit.thaw_started_at else show.NOTHING


def kept_in(unit):
    return "Its shipper" if unit.shipper_hold_until else unit.storage or show.NOTHING


def good_until(unit):
    """Until when the unit may be used, in red if that is over: a thawed one by its clock, any other by its dates."""
    thawed = unit.status == UnitStatus.THAWED
    until = cells.use_by(unit) if unit.thaw_started_at else cells.good_until(unit)
    words = show.when(until, unit.lot.site.zone)
    over = until is None or until < now()
    if over and (thawed or unit.status in cells.IN_STORE):
        return format_html("{} {}", show.badge("fail", "Over"), words)
    return words


# The units of a day are chosen on its page.

add_steps(
    Appointment,
    StepAction(
        name="choose-unit",
        label="Choose another unit",
        take=preparation.choose_unit,
        form=ChooseForm,
        available=lambda appointment: (
            appointment.status in cells.AHEAD
            and appointment.visit == Visit.PROCEDURE
            and appointment.episode.protocol.product.source == CellSource.ALLOGENEIC
        ),
        permission="scheduling.choose_unit",
        consequence="Units go out first-expiry-first-out. Another one of the same dose that is released and in date "
        "may be given with a reason, which is kept and listed. The unit it replaces goes back into store.",
        done=lambda unit: f"Unit {unit.identifier} is given to this day.",
        then=lambda unit: unit.appointment,
    ),
)


# What cannot wait, on the first page.


def queued(found, user, at):
    return found.visible_to(user).select_related("lot__site", "lot__product", "appointment__episode__patient")


register(
    Queue(
        title="Thawed cells that must not be injected any more",
        rows=lambda user, at: queued(cells.past_use_by(at=at), user, at),
        line=lambda unit, at: Line(
            str(unit.appointment.episode.patient),
            f"unit {unit.identifier} could be used until {show.when(cells.use_by(unit), unit.lot.site.zone)}",
            show.step_page(unit, "discard"),
            "Discard",
        ),
        everything=lambda: show.list_of(Unit, status__exact=UnitStatus.THAWED),
        empty="None. Cells that were thawed longer ago than their product allows, or will be when the injection "
        "starts, appear here.",
        permission="scheduling.view_unit",
        place=14,
        urgent=True,
    ),
    Queue(
        title="Cells still in their shipper",
        rows=lambda user, at: queued(cells.in_shippers(), user, at),
        line=lambda unit, at: Line(
            f"Unit {unit.identifier}",
            f"{'was held' if unit.shipper_hold_until < at else 'held'} until "
            f"{show.when(unit.shipper_hold_until, unit.lot.site.zone)}",
            show.step_page(unit, "discard" if unit.shipper_hold_until < at else "store"),
            "Discard" if unit.shipper_hold_until < at else "Move into storage",
        ),
        everything=lambda: show.list_of(Unit, status__exact=UnitStatus.RECEIVED),
        empty="None. A unit kept in the shipper it came in appears here until it is used or moved into storage.",
        permission="scheduling.view_unit",
        place=66,
    ),
)
