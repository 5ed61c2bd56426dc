"""A room, a device or a person is not there for a time: who is affected, where each can go, all in one commit."""

from dataclasses import dataclass, field

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.http import HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone

from clinic.admin import show
from clinic.admin.pages import DateTimeInput, VisibleRelatedFilter
from clinic.admin.steps import StepAction, StepAdmin, StepForm, first_values
from clinic.desk import DAYS
from clinic.models import Site
from clinic.status import StepRefused
from scheduling import closures
from scheduling.admin.appointments import named
from scheduling.admin.options import Offer, offers, unseal
from scheduling.models import Appointment, Closure, Resource
from scheduling.models.protocol import ResourceKind

ALTERNATIVES = 3
CANCEL = "cancel"


class CloseForm(StepForm):
    resource = forms.ModelChoiceField(
        Resource.objects.exclude(kind=ResourceKind.PATIENT).filter(active=True).order_by("kind", "name"),
        label="What is not there?",
    )
    starts = forms.DateTimeField(label="From", widget=DateTimeInput, help_text="The clinic's own time.")
    ends = forms.DateTimeField(label="Until", widget=DateTimeInput)
    reason = forms.CharField(label="Why?", max_length=200, help_text="Holiday, maintenance, leave.")

    def clean(self):
        given = super().clean()
        if given.get("starts") and given.get("ends") and given["ends"] <= given["starts"]:
            self.add_error("ends", "It must end after it begins.")
        return given

    @property
    def during(self):
        return DateTimeTZRange(self.cleaned_data["starts"], self.cleaned_data["ends"])


@dataclass
class Affected:
    """One appointment in the way, and where it could go."""

    appointment: Appointment
    words: str
    alternatives: list[Offer] = field(default_factory=list)
    shortage: str = ""
    chosen: str = ""
    seen: int | None = None

    @property
    def name(self):
        return f"plan-{self.appointment.pk}"

    @property
    def seen_name(self):
        return f"seen-{self.appointment.pk}"


@admin.register(Closure)
class ClosureAdmin(StepAdmin):
    section, place = DAYS, 50
    question = "What is closed, and when?"
    empty = (
        "Nothing is closed. Close a room, a device or a person for a time, and everybody affected is moved in one go."
    )
    list_display = ("resource", "when", "reason", "closed_by", "status_shown")
    list_filter = ("resource__kind", ("resource__site", VisibleRelatedFilter))
    list_select_related = ("resource__site",)
    search_fields = ("resource__name", "reason")
    ordering = ("-during", "pk")
    shows_next = False
    fieldsets = ((None, {"fields": ("resource", "when", "reason", "closed_by", "closed", "reopened")}),)
    readonly_fields = ("when", "closed", "reopened")
    adding = StepAction(name="add", label="Close for a time", take=closures.close, form=CloseForm)
    steps = (
        StepAction(
            name="reopen",
            label="Reopen",
            take=closures.reopen,
            available=lambda closure: closure.reopened_at is None,
            consequence="The time can be booked again. Appointments that were moved away stay where they are.",
            done=lambda closure: f"{closure.resource} can be booked again in that time.",
        ),
    )

    # Adding: first the question, then everybody affected with a choice for each; nothing changes before the POST.

    def add_view(self, request, form_url="", extra_context=None):
        if not self.has_add_permission(request):
            raise PermissionDenied
        resource = Resource.objects.visible_to(request.user).filter(pk=number(request.GET.get("resource"))).first()
        site = resource.site if resource else Site.objects.visible_to(request.user).order_by("pk").first()
        with timezone.override(site.zone if site else timezone.get_default_timezone()):
            return self.ask_and_close(request)

    def ask_and_close(self, request):
        asked = "starts" in request.GET
        form = CloseForm(request.GET if asked else None, initial=first_values(CloseForm, request), user=request.user)
        context = self.step_context(request, self.adding, None, form)
        if not (asked and form.is_valid()):
            return render(request, "admin/desk/close.html", context)
        affected = affected_by(form, request.POST)
        if request.method == "POST" and (response := self.close(request, form, affected, context)):
            return response
        return render(request, "admin/desk/close.html", {**context, "affected": affected, "ready": True})

    def close(self, request, form, affected, context):
        resource = form.cleaned_data["resource"]
        try:
            plan = {row.appointment.pk: chosen_for(row) for row in affected}
            closure = closures.close(
                resource,
                during=form.during,
                reason=form.cleaned_data["reason"],
                plan=plan,
                seen={row.appointment.pk: row.seen for row in affected if row.seen is not None},
                by=request.user.get_username(),
                at=timezone.now(),
            )
        except StepRefused as refused:
            context["refused"] = str(refused)
            return None
        moved = sum(option is not None for option in plan.values())
        words = f"{resource} is closed. {moved} moved, {len(plan) - moved} cancelled"
        told = "; every patient concerned is told by e-mail." if plan else ": nobody was booked there."
        self.message_user(request, words + told, messages.SUCCESS)
        return HttpResponseRedirect(show.page_of(closure))

    @admin.display(description="When", ordering="during")
    def when(self, closure):
        return show.during(closure.during, closure.resource.site.zone)

    @admin.display(description="State")
    def status_shown(self, closure):
        return show.badge("", "reopened") if closure.reopened_at else show.badge("failed", "closed")

    @admin.display(description="Entered")
    def closed(self, closure):
        return show.when(closure.closed_at, closure.resource.site.zone)

    @admin.display(description="Reopened")
    def reopened(self, closure):
        return show.when(closure.reopened_at, closure.resource.site.zone)


def number(text):
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def affected_by(form, posted):
    """Everybody booked in that time, each with up to three other times, or why there is none."""
    resource, at = form.cleaned_data["resource"], timezone.now()
    rows = closures.affected(resource, form.during).select_related("episode__patient", "episode__protocol", "site")
    found = []
    for appointment in rows:
        zone = appointment.site.zone
        search = closures.alternatives(appointment, at=at, limit=ALTERNATIVES, closing=(resource, form.during))
        row = Affected(
            appointment=appointment,
            words=named(appointment),
            alternatives=offers(search.options, zone, reasons=search.reasons, moving=appointment),
            shortage=search.shortage.sentence if search.shortage else "",
        )
        row.chosen = posted.get(row.name) or (row.alternatives[0].sealed if row.alternatives else "")
        row.seen = number(posted.get(row.seen_name))
        found.append(row)
    return found


def chosen_for(row):
    """The option chosen for an affected appointment; None means that it is cancelled."""
    if not row.chosen:
        raise StepRefused(f"Choose what happens to: {row.words}.")
    return None if row.chosen == CANCEL else unseal(row.chosen)
