"""The sweep for the days to come: holds that ran out, freed time for who waits, and what patients should hear about
their appointments."""

from celery import shared_task

from clinic.tasks import run_parts
from scheduling import bookings, reminders, waitlist


@shared_task(name="scheduling.sweep")
def sweep() -> dict[str, int]:
    return run_parts(
        "scheduling.sweep",
        {
            "holds_lapsed": bookings.lapse_holds,
            "waitlist_offers": waitlist.sweep,
            "messages_queued": reminders.queue_due,
        },
    )
