"""Everything said to a patient, and what nobody can know: read-only, but for the few things a person must decide."""

from django.contrib import admin

from clinic import messages
from clinic.admin import show
from clinic.admin.pages import VisibleRelatedFilter
from clinic.admin.steps import ReasonForm, StepAction, StepAdmin
from clinic.desk import LETTERS, Line, Queue, register
from clinic.models import Message, Patient
from clinic.states import MessageStatus

KINDS = {
    "appointment.booked": "Appointment booked",
    "appointment.moved": "Appointment moved",
    "appointment.cancelled": "Appointment cancelled",
    "appointment.preparation": "How to prepare",
    "appointment.reminder": "Reminder of an appointment",
    "appointment.unconfirmed": "Not confirmed yet",
    "waitlist.offer": "A time off the waitlist",
    "survey.invitation": "Survey: invitation",
    "survey.reminder": "Survey: reminder",
    "recovery.stage": "What to do while recovering",
    "mri.due": "MRI is due",
}


def kind_of(message: Message) -> str:
    return KINDS.get(message.kind, message.kind.replace(".", ": ").replace("_", " ").capitalize())


def messages_panel(patient: Patient):
    """What was said to a patient, the newest first."""
    found = Message.objects.filter(patient=patient).order_by("-due_at", "-pk")[:50]
    zone = patient.site.zone
    rows = (
        (
            show.link(message, kind_of(message)),
            show.state(message),
            show.when(message.sent_at or message.due_at, zone),
            message.reason,
        )
        for message in found
    )
    return show.table(
        ("Message", "State", "Sent, or due", "Why"),
        rows,
        empty="Nothing yet. A message appears here when something is booked, due or overdue.",
    )


class KindFilter(admin.SimpleListFilter):
    title = "message"
    parameter_name = "kind"

    def lookups(self, request, model_admin):
        return tuple(KINDS.items())

    def queryset(self, request, queryset):
        return queryset.filter(kind=self.value()) if self.value() else queryset


@admin.register(Message)
class MessageAdmin(StepAdmin):
    section, place = LETTERS, 10
    question = "What did we say to whom?"
    empty = "Nothing yet. Messages appear when something is booked or becomes due; nobody writes them by hand."
    list_display = ("patient_name", "what", "status_shown", "due", "sent", "reason")
    list_filter = ("status", KindFilter, ("site", VisibleRelatedFilter))
    list_select_related = ("patient", "site")
    search_fields = ("patient__family_name", "patient__given_name", "patient__mrn", "sent_to")
    ordering = ("-due_at", "-pk")
    fieldsets = (
        ("What is it?", {"fields": ("patient", "what", "occasion", "version", "channel")}),
        ("What became of it?", {"fields": ("due", "sent", "sent_to", "subject", "attempts", "reason")}),
        ("What do the mail servers say?", {"fields": ("header", "told")}),
    )
    readonly_fields = ("what", "due", "sent", "header", "told")
    steps = (
        StepAction(
            name="mark-sent",
            label="It arrived: mark as sent",
            take=messages.mark_sent,
            available=lambda message: message.status == MessageStatus.UNKNOWN,
            consequence="Only if the mail relay's log or the patient says so. It is not sent again.",
            done=lambda message: f"Settled: {kind_of(message)} reached {message.patient}.",
            main=True,
        ),
        StepAction(
            name="resend",
            label="Send again",
            take=messages.resend,
            available=lambda message: message.status in (MessageStatus.UNKNOWN, MessageStatus.FAILED),
            consequence=lambda message: (
                "It goes out with the next delivery, if it is still wanted then."
                if message.status == MessageStatus.FAILED
                else "It goes out with the next delivery, if it is still wanted then, under the same Message-ID. If "
                "the first copy arrived after all, the patient gets it twice; some mail programs show the two as one."
            ),
            done=lambda message: f"{kind_of(message)} to {message.patient} goes out again in a moment.",
        ),
        StepAction(
            name="skip",
            label="Not needed any more",
            take=messages.skip,
            form=ReasonForm,
            available=lambda message: message.status in (MessageStatus.UNKNOWN, MessageStatus.FAILED),
            consequence="Nobody looks for this message any more, and it is not sent again.",
            done=lambda message: f"{kind_of(message)} to {message.patient} is put aside.",
            destructive=True,
        ),
    )

    @admin.display(description="Patient", ordering="patient__family_name")
    def patient_name(self, message):
        return str(message.patient)

    @admin.display(description="Message")
    def what(self, message):
        return kind_of(message)

    @admin.display(description="State", ordering="status")
    def status_shown(self, message):
        return show.state(message)

    @admin.display(description="Due", ordering="due_at")
    def due(self, message):
        return show.when(message.due_at, message.site.zone)

    @admin.display(description="Sent", ordering="sent_at")
    def sent(self, message):
        return show.when(message.sent_at, message.site.zone)

    @admin.display(description="Message-ID in the mail relay's log")
    def header(self, message):
        return message.message_id

    @admin.display(description="What mail servers told us")
    def told(self, message):
        rows = (
            (event.get_event_display(), show.when(event.at, message.site.zone), event.words)
            for event in message.delivery_events.order_by("at", "pk")
        )
        return show.table(("What", "When", "In their words"), rows, empty="Nothing. Not every mail service tells.")


def unsettled(user, at):
    rows = Message.objects.visible_to(user).filter(status__in=[MessageStatus.UNKNOWN, MessageStatus.FAILED])
    return rows.select_related("patient", "site").order_by("due_at", "pk")


register(
    Queue(
        title="Messages nobody is sure of",
        rows=unsettled,
        line=lambda message, at: Line(
            str(message.patient),
            f"{kind_of(message)}: {message.get_status_display().lower()}. {message.reason}",
            show.page_of(message),
            "Decide",
        ),
        everything=lambda: show.list_of(Message, status__in="unknown,failed"),
        empty="None. A message that failed, or that a crash left between sending and sent, waits here for a person.",
        permission="clinic.view_message",
        place=120,
        urgent=True,
    )
)
