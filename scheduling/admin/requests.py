"""Beside step 3 at the desk: patients who ask for another time, until somebody has found one or talked with them."""

from django.contrib import admin
from django.utils.timezone import now

from clinic import clock
from clinic.admin import show
from clinic.admin.pages import FirstIsDefault, VisibleRelatedFilter
from clinic.admin.steps import StepAction, StepAdmin
from clinic.desk import DAYS, Line, Queue, register
from scheduling import requests
from scheduling.models import MoveRequest


class StandingFilter(FirstIsDefault):
    title = "state"
    parameter_name = "work"

    def lookups(self, request, model_admin):
        return (("waiting", "Waiting for an answer"), ("all", "All"))

    def queryset(self, request, queryset):
        return queryset if self.value() == "all" else queryset.filter(pk__in=requests.waiting(at=now()).values("pk"))


def stands(request) -> bool:
    visit = request.appointment
    return request.settled_at is None and request.version == visit.version and visit.status in requests.COMING


@admin.register(MoveRequest)
class MoveRequestAdmin(StepAdmin):
    section, place = DAYS, 15
    called = "Asked for another time"
    question = "Who asks for another time?"
    empty = "Nobody. A patient who asks for another time, on the page behind the link in their mail, appears here."
    list_display = ("patient_name", "visit", "when", "phone", "asked", "state")
    list_filter = (StandingFilter, ("appointment__site", VisibleRelatedFilter))
    list_select_related = ("appointment__episode__patient", "appointment__site")
    search_fields = ("appointment__episode__patient__family_name", "appointment__episode__patient__mrn")
    ordering = ("appointment__during", "pk")
    fieldsets = ((None, {"fields": ("patient_link", "visit_link", "when", "phone", "asked", "state")}),)
    readonly_fields = ("patient_link", "visit_link", "when", "phone", "asked", "state")
    steps = (
        StepAction(
            name="find",
            label="Find another time",
            page=lambda request: show.step_page(request.appointment, "move"),
            available=stands,
            main=True,
        ),
        StepAction(
            name="settle",
            label="The patient keeps the time",
            take=requests.settle,
            available=stands,
            consequence="Only after you have talked with the patient. The visit stays as it is.",
            done=lambda request: f"{request.appointment.episode.patient} keeps the time.",
        ),
    )

    @admin.display(description="Patient", ordering="appointment__episode__patient__family_name")
    def patient_name(self, request):
        return str(request.appointment.episode.patient)

    @admin.display(description="Patient")
    def patient_link(self, request):
        return show.link(request.appointment.episode.patient)

    @admin.display(description="Visit")
    def visit(self, request):
        return request.appointment.get_visit_display()

    @admin.display(description="Visit")
    def visit_link(self, request):
        return show.link(request.appointment, request.appointment.get_visit_display())

    @admin.display(description="Has", ordering="appointment__during")
    def when(self, request):
        return show.during(request.appointment.during, request.appointment.site.zone)

    @admin.display(description="Phone")
    def phone(self, request):
        return show.known(request.appointment.episode.patient.phone)

    @admin.display(description="Asked", ordering="asked_at")
    def asked(self, request):
        return show.when(request.asked_at, request.appointment.site.zone)

    @admin.display(description="State")
    def state(self, request):
        if stands(request):
            return show.badge("waiting", "waits for an answer")
        return show.badge("done", "keeps the time" if request.settled_at else "moved or ended")


register(
    Queue(
        title="Asked for another time",
        rows=lambda user, at: requests.waiting(at=at).visible_to(user),
        line=lambda request, at: Line(
            str(request.appointment.episode.patient),
            f"{request.appointment.get_visit_display()}, "
            f"{clock.spoken(request.appointment.during.lower, request.appointment.site.zone)}; "
            f"phone {request.appointment.episode.patient.phone or 'not known'}",
            show.step_page(request.appointment, "move"),
            "Find another time",
        ),
        everything=lambda: show.list_of(MoveRequest),
        empty="Nobody. A patient who asks for another time, on the page behind the link in their mail, appears here.",
        permission="scheduling.view_moverequest",
        place=66,
    )
)
