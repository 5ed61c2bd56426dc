"""Beside step 3: what a patient says of a booked visit by themselves, behind the secret link in its mails: I will come,
or I need another time. Leaves the visit confirmed, or a MoveRequest for the desk; the visit itself stays as it is until
a coordinator moves it."""

from datetime import datetime

from django.db.models import F, Q, QuerySet

from clinic.status import Stale, StepRefused, note
from scheduling import bookings, diary, visits
from scheduling.models import Appointment, MoveRequest
from scheduling.states import AppointmentStatus

A = AppointmentStatus
COMING = (A.BOOKED, A.CONFIRMED)


def standing() -> QuerySet[MoveRequest]:
    """Requests that still wait for an answer: about the time the visit still has."""
    return MoveRequest.objects.filter(
        settled_at__isnull=True, version=F("appointment__version"), appointment__status__in=COMING
    )


def waiting(*, at: datetime) -> QuerySet[MoveRequest]:
    """What the desk has to answer, the visit that comes first on top."""
    rows = standing().filter(Q(appointment__during__startswith__gt=at), appointment__episode__patient__deceased=False)
    return rows.select_related("appointment__episode__patient", "appointment__site").order_by(
        "appointment__during", "pk"
    )


def of(appointment: Appointment) -> MoveRequest | None:
    return standing().filter(appointment=appointment).first()


@diary.one_commit()
def come(appointment: Appointment, *, version: int, by: str, at: datetime) -> Appointment:
    """The patient says: I will come. Whatever they asked for before is taken back with it."""
    appointment = _asked_about(appointment, version=version, at=at)
    for request in standing().filter(appointment=appointment):
        settle(request, by=by, at=at)
    if appointment.status == A.CONFIRMED:
        return appointment
    return bookings.confirm(appointment, by=by, at=at)


@diary.one_commit()
def ask_to_move(appointment: Appointment, *, version: int, by: str, at: datetime) -> MoveRequest:
    """The patient needs another time. Asked twice, it stands once."""
    appointment = _asked_about(appointment, version=version, at=at)
    if request := of(appointment):
        return request
    request = MoveRequest.objects.create(appointment=appointment, version=version, asked_at=at)
    note(appointment, was=appointment.status, became=appointment.status, by=by, at=at, reason="Asked for another time")
    return request


@diary.one_commit()
def settle(request: MoveRequest, *, by: str, at: datetime) -> MoveRequest:
    """Somebody has talked with the patient, who keeps the time they have."""
    MoveRequest.objects.filter(pk=request.pk, settled_at__isnull=True).update(settled_at=at, settled_by=by)
    request.refresh_from_db()
    return request


def _asked_about(appointment: Appointment, *, version: int, at: datetime) -> Appointment:
    appointment = visits.locked(appointment)
    if appointment.version != version:
        raise Stale("The visit has another time than the one the patient saw.")
    if appointment.status not in COMING or appointment.during.lower <= at:
        raise StepRefused(f"The visit is {appointment.get_status_display().lower()}, or has begun.")
    return appointment
