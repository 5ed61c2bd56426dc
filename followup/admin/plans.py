"""The follow-up plan of a protocol, on the protocol's page: editable until a patient is treated by it."""

from django.contrib import admin

from clinic.admin.pages import LabelledFormSet, add_inlines
from followup.models import FollowUpStep, RestrictionStage
from scheduling.admin.protocols import UnusedOnly
from scheduling.models import Protocol


class FollowUpStepInline(UnusedOnly, admin.TabularInline):
    model = FollowUpStep
    extra = 0
    formset = LabelledFormSet
    ordering = ("unit", "offset", "pk")
    fields = (
        "code",
        "name",
        "kind",
        "offset",
        "unit",
        "optimal_before",
        "optimal_after",
        "permitted_before",
        "permitted_after",
        "instruments",
    )
    verbose_name_plural = "What is due after the injection, and in which windows (days)?"


class StageInline(UnusedOnly, admin.TabularInline):
    model = RestrictionStage
    extra = 0
    formset = LabelledFormSet
    verbose_name_plural = "What may the patient do while recovering?"


add_inlines(Protocol, FollowUpStepInline, StageInline)
