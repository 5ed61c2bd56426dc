"""Step 7: who asks for a follow-up MRI, and in which sequences. Leaves one live MriOrder for each MRI that is due; it
is booked with the appointment and done with the study."""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from clinic.status import StepRefused, move, note
from followup.models import FollowUpEvent, MriOrder
from followup.models.event import EventKind
from followup.models.imaging import Sequence as MriSequence
from followup.models.imaging import standard
from followup.states import EVENT_CLOSED, ORDER_LIVE, ORDER_MOVES, EventStatus, OrderStatus
from scheduling.models import Appointment
from scheduling.states import APPOINTMENT_LIVE


@transaction.atomic
def place(event: FollowUpEvent, *, sequences: Sequence[str] = (), by: str, at: datetime) -> MriOrder:
    """Order the MRI of `event`; without `sequences` in those that the baseline is made of."""
    event = _locked(event)
    if event.kind != EventKind.MRI:
        raise StepRefused(f"{event} is not an MRI.")
    if event.status != EventStatus.OPEN:
        raise StepRefused(f"{event} is closed: no MRI is due for it.")
    if standing := live(event):
        raise StepRefused(f"{event} has been ordered already, by {standing.ordered_by}.")
    if unknown := sorted(set(sequences) - set(MriSequence.values)):
        raise StepRefused(f"Not a sequence that can be ordered: {', '.join(unknown)}.")
    order = MriOrder.objects.create(
        event=event, sequences=list(dict.fromkeys(sequences)) or standard(), ordered_by=by, ordered_at=at
    )
    note(order, was="", became=OrderStatus.ORDERED, by=by, at=at)
    return order


@transaction.atomic
def cancel(order: MriOrder, *, reason: str, by: str, at: datetime) -> MriOrder:
    """Take the order back. A booked day is given up first, so that nobody comes for nothing."""
    if not reason.strip():
        raise StepRefused("Say why the MRI is not wanted.")
    event = FollowUpEvent.objects.select_related("appointment").get(pk=_locked(order.event).pk)
    if event.appointment is not None and event.appointment.status in APPOINTMENT_LIVE:
        raise StepRefused("The MRI is booked. Cancel its appointment first, so that the patient does not come.")
    return move(order, OrderStatus.CANCELLED, moves=ORDER_MOVES, by=by, at=at, reason=reason)


@transaction.atomic
def booked(event: FollowUpEvent, *, by: str, at: datetime) -> MriOrder:
    """The MRI has its appointment. The plan orders what nobody has ordered; what was taken back is ordered by hand."""
    event = _locked(event)
    order = live(event)
    if order is None and event.orders.filter(status=OrderStatus.CANCELLED).exists():
        raise StepRefused(f"The order for {event} was cancelled. Order it again before it is booked.")
    order = order or place(event, by=by, at=at)
    if order.status == OrderStatus.BOOKED:  # another time for the same order
        return order
    return move(order, OrderStatus.BOOKED, moves=ORDER_MOVES, by=by, at=at)


@transaction.atomic
def done(event: FollowUpEvent, *, by: str, at: datetime) -> None:
    """The study has come; one that was made without an order needs none any more."""
    if order := live(_locked(event)):
        move(order, OrderStatus.DONE, moves=ORDER_MOVES, by=by, at=at)


@transaction.atomic
def settle(*, at: datetime) -> int:
    """Orders whose day fell through are open again; those of an MRI that is not due any more are cancelled."""
    coming = Appointment.objects.filter(pk=OuterRef("event__appointment"), status__in=APPOINTMENT_LIVE)
    astray = MriOrder.objects.filter(
        Q(~Exists(coming), status=OrderStatus.BOOKED) | Q(event__status__in=EVENT_CLOSED), status__in=ORDER_LIVE
    )
    rows = list(
        astray.select_related("event").order_by("pk").select_for_update(of=("self",), no_key=True, skip_locked=True)
    )
    for order in rows:
        closed = order.event.status in EVENT_CLOSED
        to, reason = (
            (OrderStatus.CANCELLED, "The MRI is not due any more.")
            if closed
            else (OrderStatus.ORDERED, "Its appointment fell through.")
        )
        move(order, to, moves=ORDER_MOVES, by="system", at=at, reason=reason)
    return len(rows)


def wanted(event: FollowUpEvent) -> MriOrder:
    """The order that stands for `event`."""
    if order := live(event):
        return order
    raise StepRefused(f"No order stands for {event}: there is nothing to cancel.")


def live(event: FollowUpEvent) -> MriOrder | None:
    return next((order for order in event.orders.all() if order.status in ORDER_LIVE), None)


def _locked(event: FollowUpEvent) -> FollowUpEvent:
    FollowUpEvent.objects.select_for_update(no_key=True).get(pk=event.pk)
    return FollowUpEvent.objects.select_related("episode__patient").get(pk=event.pk)
