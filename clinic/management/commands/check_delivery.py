"""manage.py check_delivery: whether messages still go out, as an exit code: for a container's health check, or a job
where nothing asks /healthz."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from clinic import heartbeats


class Command(BaseCommand):
    help = "End with 1 while the delivery of messages stands still."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        if heartbeats.listen().dispatcher.silent:
            raise CommandError(heartbeats.STANDS_STILL)
        self.stdout.write("Messages are delivered.")
