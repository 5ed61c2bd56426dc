"""The sweep for the time after: events that open or are overdue, episodes that are complete, and what patients should
hear about them."""

from celery import shared_task

from clinic.tasks import run_parts
from followup import events, orders, outcomes, reminders


@shared_task(name="followup.sweep")
def sweep() -> dict[str, int]:
    return run_parts(
        "followup.sweep",
        {
            "events_opened": events.open_due,
            "events_missed": events.miss_overdue,
            "orders_settled": orders.settle,
            "episodes_completed": outcomes.complete_due,
            "messages_queued": reminders.queue_due,
        },
    )
