"""Where the work is done, and by whom: edited as plain forms, by those who may. Only the quiet hours change by a step,
because messages depend on them."""

from typing import Any

from django import forms
from django.contrib import admin

from clinic import rules
from clinic.admin.pages import DeskAdmin, TimeInput, VisibleRelatedFilter
from clinic.admin.rules import AsksFirstForm
from clinic.admin.steps import StepAction, StepAdmin
from clinic.desk import HOUSE
from clinic.models import Practitioner, Site, StaffMember


class QuietHoursForm(AsksFirstForm):
    quiet_from = forms.TimeField(label="From?", widget=TimeInput, help_text="On the clinic's clock.")
    quiet_until = forms.TimeField(label="Until?", widget=TimeInput, help_text="The same time twice: never.")

    def prepare(self) -> None:
        self.initial = {"quiet_from": self.row.quiet_from, "quiet_until": self.row.quiet_until} | self.initial

    @property
    def step(self) -> Any:
        return rules.change_quiet_hours


@admin.register(Site)
class SiteAdmin(StepAdmin):
    section, place = HOUSE, 10
    called = "Clinics"
    question = "Which clinics are there?"
    list_display = ("name", "time_zone", "phone", "reply_to")
    search_fields = ("name", "code")
    fieldsets = (
        ("Which clinic is it?", {"fields": ("name", "code", "address", "time_zone")}),
        ("How do patients reach it?", {"fields": ("phone", "reply_to")}),
        ("When are patients left in peace?", {"fields": ("quiet_from", "quiet_until")}),
        ("What do patients read?", {"fields": ("language", "emergency_text", "emergency_texts")}),
    )
    editable = (
        *("name", "code", "address", "time_zone", "phone", "reply_to"),
        *("language", "emergency_text", "emergency_texts"),
    )
    added_by_form = True
    shows_next = False
    steps = (
        StepAction(
            name="quiet-hours",
            label="Change the quiet hours",
            take=rules.change_quiet_hours,
            form=QuietHoursForm,
            consequence="It holds at once for everything that is not sent yet.",
            done=lambda site: f"{site}: messages that may wait are kept for the end of the new quiet hours.",
        ),
    )


@admin.register(StaffMember)
class StaffMemberAdmin(DeskAdmin):
    section, place = HOUSE, 30
    called = "Who works where"
    question = "Who may work at which clinic?"
    empty = "Nobody yet. Make a login first, then give it its clinics here."
    list_display = ("user", "where")
    search_fields = ("user__username", "user__last_name")
    autocomplete_fields = ("user",)
    list_select_related = ("user",)

    def get_queryset(self, request):
        return super().get_queryset(request).distinct().prefetch_related("sites")

    @admin.display(description="Clinics")
    def where(self, member):
        return ", ".join(site.name for site in member.sites.all())


@admin.register(Practitioner)
class PractitionerAdmin(StepAdmin):
    section, place = HOUSE, 20
    question = "Who treats here?"
    empty = "Nobody yet. Add the people who treat; then make each a resource, so that their time can be booked."
    list_display = ("name", "site", "email", "active")
    list_filter = ("active", ("site", VisibleRelatedFilter))
    list_select_related = ("site",)
    search_fields = ("name", "email")
    fields = ("name", "site", "email", "active")
    editable = ("name", "email", "active")
    added_by_form = True
    shows_next = False
