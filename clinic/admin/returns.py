"""Mail that came back: whose, what the other side said, and the two ways out of it."""

from django.contrib import admin
from django.utils.timezone import now

from clinic import bounces, optouts
from clinic.admin import show
from clinic.admin.pages import FirstIsDefault, VisibleRelatedFilter
from clinic.admin.steps import StepAction, StepAdmin
from clinic.desk import LETTERS, Line, Queue, register
from clinic.models import ReturnedMail

EMPTY = "None. What a mail server could not deliver, or a patient's mail service reported as unwanted, appears here."


class StandingFilter(FirstIsDefault):
    title = "state"
    parameter_name = "work"

    def lookups(self, request, model_admin):
        return (("waiting", "To see to"), ("all", "All"))

    def queryset(self, request, queryset):
        return (
            queryset if self.value() == "all" else queryset.filter(pk__in=to_see_to(request.user, now()).values("pk"))
        )


def to_see_to(user, at):
    rows = optouts.standing_returns().visible_to(user).filter(patient__deceased=False)
    return rows.select_related("patient__site", "message").order_by("returned_at", "pk")


def stands(returned) -> bool:
    return returned.settled_at is None and returned.address.lower() == returned.patient.email.lower()


@admin.register(ReturnedMail)
class ReturnedMailAdmin(StepAdmin):
    section, place = LETTERS, 15
    called = "Mail that came back"
    question = "Which mail came back?"
    empty = EMPTY
    list_display = ("patient_name", "address", "what", "words", "returned", "state")
    list_filter = (StandingFilter, "kind", ("patient__site", VisibleRelatedFilter))
    list_select_related = ("patient__site",)
    search_fields = ("patient__family_name", "patient__given_name", "patient__mrn", "address")
    ordering = ("-returned_at", "-pk")
    fieldsets = (
        (None, {"fields": ("patient_link", "phone", "address", "what", "words", "returned", "state", "mail")}),
    )
    readonly_fields = ("patient_link", "phone", "what", "returned", "state", "mail")
    steps = (
        StepAction(
            name="correct",
            label="Correct the address",
            page=lambda returned: show.step_page(returned.patient, "correct"),
            available=stands,
            main=True,
        ),
        StepAction(
            name="settle",
            label="Write to this address again",
            take=bounces.settle,
            available=stands,
            consequence="Only if the patient says that the address is right. What becomes due from now on goes there "
            "again; what came back is not sent a second time.",
            done=lambda returned: f"{returned.patient} is written to again.",
        ),
    )

    @admin.display(description="Patient", ordering="patient__family_name")
    def patient_name(self, returned):
        return str(returned.patient)

    @admin.display(description="Patient")
    def patient_link(self, returned):
        return show.link(returned.patient)

    @admin.display(description="Phone")
    def phone(self, returned):
        return show.known(returned.patient.phone)

    @admin.display(description="What happened")
    def what(self, returned):
        return show.badge("fail" if returned.permanent else "warn", returned.get_kind_display())

    @admin.display(description="Came back", ordering="returned_at")
    def returned(self, returned):
        return show.when(returned.returned_at, returned.patient.site.zone)

    @admin.display(description="State")
    def state(self, returned):
        if stands(returned):
            return show.badge("waiting", "nothing is sent there" if returned.permanent else "to see to")
        return show.badge("done", "settled" if returned.settled_at else "address changed")

    @admin.display(description="Message")
    def mail(self, returned):
        return show.link(returned.message)


register(
    Queue(
        title="Mail that came back",
        rows=to_see_to,
        line=lambda returned, at: Line(
            str(returned.patient),
            f"{returned.address}: {returned.get_kind_display().lower()}. {returned.words} "
            f"{'Nothing more is sent there. ' if returned.permanent else ''}"
            f"Phone {returned.patient.phone or 'not known'}.",
            show.page_of(returned),
            "See to it",
        ),
        everything=lambda: show.list_of(ReturnedMail),
        empty=EMPTY,
        permission="clinic.view_returnedmail",
        place=118,
        urgent=True,
    )
)
