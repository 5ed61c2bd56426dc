"""What will be said to patients as things stand: derived whenever somebody asks, and never stored. Whoever queues what
is due says here what will become due (settings.MESSAGE_PLANNERS)."""

from collections.abc import Collection
from datetime import datetime

from django.conf import settings
from django.utils.module_loading import import_string

from clinic.models import Message, Patient, Site


def expected(
    *,
    at: datetime,
    until: datetime,
    sites: Collection[Site] | None = None,
    patient: Patient | None = None,
    overdue: bool = False,
) -> list[Message]:
    """Everything that will fall due in (at, until] as things stand, the soonest first, with its patient and site."""
    planners = [import_string(name) for name in getattr(settings, "MESSAGE_PLANNERS", ())]
    found = [
        message
        for planner in planners
        for message in planner(at=at, until=until, sites=sites, patient=patient, overdue=overdue)
    ]
    patients = Patient.objects.in_bulk({message.patient_id for message in found})
    places = Site.objects.in_bulk({message.site_id for message in found})
    for message in found:
        message.patient, message.site = patients[message.patient_id], places[message.site_id]
    return sorted(found, key=lambda message: (message.due_at, message.kind, message.about, message.occasion))
