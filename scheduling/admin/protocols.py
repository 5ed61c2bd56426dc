"""Protocols at the desk: which visits, which steps, how long, what they need. One in use is not edited any more."""

from django.contrib import admin

from clinic.admin import show
from clinic.admin.pages import DeskAdmin, LabelledFormSet, Panel, Scoped
from clinic.desk import HOUSE
from scheduling.models import Episode, Protocol, ProtocolStep, StepNeed


def in_use(protocol) -> bool:
    """Whether a patient is treated by it: then it stays as it is, and a change is a new version."""
    return protocol is not None and Episode.objects.filter(protocol=protocol).exists()


class UnusedOnly(Scoped):
    """Lines of a protocol that may change only while nobody is treated by it."""

    def has_add_permission(self, request, obj=None):
        return not in_use(protocol_of(obj)) and super().has_add_permission(request, obj)

    def has_change_permission(self, request, obj=None):
        return not in_use(protocol_of(obj)) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request, obj=None):
        return not in_use(protocol_of(obj)) and super().has_delete_permission(request, obj)


def protocol_of(row):
    return row.protocol if isinstance(row, ProtocolStep) else row


class StepInline(UnusedOnly, admin.TabularInline):
    model = ProtocolStep
    extra = 0
    formset = LabelledFormSet
    verbose_name_plural = "Which steps, in which order?"


class NeedInline(UnusedOnly, admin.TabularInline):
    model = StepNeed
    extra = 0
    formset = LabelledFormSet
    verbose_name_plural = "What does this step need?"


@admin.register(Protocol)
class ProtocolAdmin(DeskAdmin):
    section, place = HOUSE, 40
    called = "Protocols"
    question = "Which treatments do we offer?"
    empty = "None yet. They are loaded with: manage.py load_reference."
    list_display = ("name", "version", "product", "max_levels", "active")
    list_filter = ("active", "product")
    list_select_related = ("product",)
    search_fields = ("name", "code")
    ordering = ("name", "version")
    fieldsets = (
        ("Which treatment?", {"fields": ("name", "code", "version", "active", "product", "criteria")}),
        (
            "How much, and when?",
            {"fields": ("max_levels", "units_per_level", "dose_million", "expansion_days_min", "expansion_days_max")},
        ),
        ("Where do the numbers come from?", {"fields": ("basis",)}),
    )
    inlines = (StepInline,)
    panels = (Panel("What the steps need", lambda protocol, request: needs_of(protocol)),)

    def get_editable(self, request, protocol):
        return ("active",) if in_use(protocol) else None


@admin.register(ProtocolStep)
class ProtocolStepAdmin(DeskAdmin):
    """Reached from the protocol: where the needs of one step are edited."""

    section, place = HOUSE, 41
    question = "Which steps do the treatments have?"
    list_display = ("protocol", "visit", "order", "code", "minutes", "minutes_per_extra_level")
    list_filter = ("protocol",)
    list_select_related = ("protocol",)
    inlines = (NeedInline,)

    def has_add_permission(self, request):
        return False

    def get_editable(self, request, step):
        return () if in_use(step.protocol) else None


def needs_of(protocol):
    rows = (
        (
            show.link(step, f"{step.get_visit_display()}: {step}"),
            f"{step.minutes} min"
            + (f" + {step.minutes_per_extra_level} per extra level" if step.minutes_per_extra_level else ""),
            f"{step.gap_min} to {step.gap_max} min" if step.order > 1 else show.NOTHING,
            ", ".join(said(need) for need in step.needs.all()),
        )
        for step in protocol.steps.prefetch_related("needs")
    )
    return show.table(("Step", "Takes", "Wait before", "Needs"), rows, empty="No steps yet.")


def said(need):
    able = f" able to {need.capability}" if need.capability else ""
    before = f", {need.setup_minutes} min setup" if need.setup_minutes else ""
    then = f", {need.turnover_minutes} min turnover" if need.turnover_minutes else ""
    return f"{need.count} {need.get_kind_display().lower()}{able}{before}{then}"
