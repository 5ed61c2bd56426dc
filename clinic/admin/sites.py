"""Where the work is done, and by whom: edited as plain forms, by those who may."""

from django.contrib import admin

from clinic.admin.pages import DeskAdmin, VisibleRelatedFilter
from clinic.admin.steps import StepAdmin
from clinic.desk import HOUSE
from clinic.models import Practitioner, Site, StaffMember


@admin.register(Site)
class SiteAdmin(DeskAdmin):
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
