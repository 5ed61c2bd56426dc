"""The follow-up MRI at the desk: its order, the study when it comes, on which scanner, and what became of each disc."""

from django import forms
from django.contrib import admin

from clinic.admin import show
from clinic.admin.pages import Panel, VisibleRelatedFilter, add_panels
from clinic.admin.steps import ReasonForm, StepAction, StepAdmin, StepForm, add_steps, can_become
from clinic.desk import AFTERWARDS
from followup import imaging, orders
from followup.models import FollowUpEvent, MriOrder
from followup.models.event import EventKind
from followup.models.imaging import Sequence, standard
from followup.states import ORDER_MOVES, EventStatus, OrderStatus
from scheduling.admin.imaging import MadeForm
from scheduling.models import Appointment, Episode
from scheduling.models.protocol import Visit


class OrderForm(StepForm):
    sequences = forms.MultipleChoiceField(
        label="Which sequences?",
        choices=Sequence.choices,
        initial=standard,
        widget=forms.CheckboxSelectMultiple,
        help_text="The same as at baseline, so that the two can be compared.",
    )


class ReceiveForm(MadeForm):
    identifier = forms.CharField(
        label="Study number", max_length=100, required=False, help_text="As it is named where it was made."
    )
    field_order = ("acquired_on", "identifier")


@admin.register(MriOrder)
class MriOrderAdmin(StepAdmin):
    section, place = AFTERWARDS, 30
    question = "Which MRIs have been ordered?"
    empty = 'None yet. Order one on the page of what is due: "Order the MRI"; booking one orders it too.'
    list_display = ("patient_name", "what", "sequences_said", "ordered_by", "ordered", "status_shown")
    list_filter = ("status", ("event__episode__patient__site", VisibleRelatedFilter))
    list_select_related = ("event__episode__patient__site",)
    search_fields = tuple(f"event__episode__patient__{name}" for name in ("family_name", "given_name", "mrn"))
    ordering = ("-ordered_at", "pk")
    fieldsets = ((None, {"fields": ("event", "sequences_said", "ordered_by", "ordered")}),)
    readonly_fields = ("sequences_said", "ordered")
    steps = (
        StepAction(
            name="cancel",
            label="Cancel the order",
            take=orders.cancel,
            form=ReasonForm,
            available=can_become(ORDER_MOVES, OrderStatus.CANCELLED),
            consequence="No MRI is booked for it until it is ordered again. If none is wanted at all, waive what is "
            "due instead.",
            done=lambda order: f"Cancelled: {order}.",
            destructive=True,
        ),
    )

    def get_queryset(self, request):
        return super().get_queryset(request).select_related("event__episode__patient__site")

    @admin.display(description="Patient", ordering="event__episode__patient__family_name")
    def patient_name(self, order):
        return str(order.event.episode.patient)

    @admin.display(description="What")
    def what(self, order):
        return order.event.name

    @admin.display(description="Sequences")
    def sequences_said(self, order):
        return order.said

    @admin.display(description="Ordered", ordering="ordered_at")
    def ordered(self, order):
        return show.when(order.ordered_at, show.zone_of(order))

    @admin.display(description="State", ordering="status")
    def status_shown(self, order):
        return show.state(order)


def is_due(event) -> bool:
    return event.kind == EventKind.MRI and event.status == EventStatus.OPEN


def may_come(event) -> bool:
    return event.kind == EventKind.MRI and event.status in (EventStatus.OPEN, EventStatus.MISSED)


def order_of(event, request):
    """The order of an MRI, and a warning if it is not on the scanner of the baseline."""
    if event.kind != EventKind.MRI:
        return show.NOTHING
    told = imaging.scans().get(pk=event.pk)
    rows = [
        (order.said, order.ordered_by, show.when(order.ordered_at, show.zone_of(event)), show.state(order))
        for order in sorted(told.orders.all(), key=lambda order: order.ordered_at)
    ]
    table = show.table(("Sequences", "Ordered by", "When", "State"), rows, empty="Not ordered yet.")
    warning = imaging.scanner_warning(told)
    return show.facts([("Mind the scanner", show.badge("warn", warning))]) + table if warning else table


def scanner_of(appointment, request):
    """Whether a booked MRI is on the scanner of the baseline."""
    if appointment.visit != Visit.MRI:
        return show.NOTHING
    event = imaging.scans().filter(appointment=appointment).first()
    if event is None:
        return show.table((), (), empty="It is for none of the follow-ups.")
    warning = imaging.scanner_warning(event)
    words = show.badge("warn", warning) if warning else show.known(event.scanner_booked)
    return show.facts([("For", show.link(event, event.name)), ("Scanner", words)])


def discs_over_time(episode, request):
    """Each disc at baseline and at every MRI since, and by how many grades it changed: within one scale only."""
    rows = []
    for event in imaging.scans(FollowUpEvent.objects.filter(episode=episode, mri__isnull=False)):
        for one in imaging.changes(event):
            treated = " (treated)" if one.level in episode.target_levels else ""
            rows.append((f"{one.level}{treated}", event.name, graded(one.before), graded(one.after), became(one)))
    columns = ("Disc", "When", "At baseline", "Then", "Change")
    return show.table(columns, rows, empty="It appears with the first MRI after the injection.")


def graded(reading):
    return f"{reading.grade} ({reading.get_scale_display()})" if reading else show.NOTHING


def became(change):
    if change.steps is None:
        return f"not comparable: {change.why_not}"
    if change.steps == 0:
        return "the same grade"
    grades = "1 grade" if abs(change.steps) == 1 else f"{abs(change.steps)} grades"
    return f"{grades} {'better' if change.steps > 0 else 'worse'}"


def received(study) -> str:
    warning = imaging.scanner_warning(imaging.scans().get(mri=study))
    return f"The MRI of {study.patient} has come. Next: somebody reads it. {warning}".strip()


add_panels(FollowUpEvent, Panel("Order and scanner", order_of))
add_panels(Appointment, Panel("Follow-up MRI", scanner_of))
add_panels(Episode, Panel("What became of the discs?", discs_over_time))
add_steps(
    FollowUpEvent,
    StepAction(
        name="order",
        label="Order the MRI",
        take=orders.place,
        form=OrderForm,
        available=is_due,
        permission="followup.add_mriorder",
        consequence="Next: find a time inside its window. Booking it without an order orders it as at baseline.",
        done=lambda order: f"Ordered: {order.said}.",
        then=lambda order: order.event,
    ),
    StepAction(
        name="receive",
        label="The MRI has come",
        take=imaging.receive,
        form=ReceiveForm,
        available=may_come,
        permission="scheduling.add_mristudy",
        consequence="It closes this follow-up: the MRI is done. Reading it, disc by disc, waits on the first page.",
        done=received,
        then=lambda study: study,
    ),
)
