"""Takes the sweeps while nobody else does: the broker is away, or no worker or no beat is left. It asks the database
alone, so that nothing here waits for a broker; two stand-ins at once, or one beside the workers, do no harm."""

import logging
import signal
from argparse import ArgumentParser
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import close_old_connections
from django.utils.module_loading import autodiscover_modules

from clinic import checks, faults, heartbeats, tasks

log = logging.getLogger(__name__)

LOOK_EVERY = timedelta(seconds=5)
MISSED = 3  # so many sweeps in a row did not come: it is no late one any more


class Command(BaseCommand):
    help = "Run the sweeps in this process whenever no worker has for a while. It does not need the broker."

    own: datetime | None = None  # the heartbeat that we left ourselves

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        autodiscover_modules("tasks")  # as a worker does, so that each sweep is known by its name

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--note", type=Path, help="A file that is written at every look: whoever watches sees it.")

    def handle(self, *args: Any, note: Path | None, **options: Any) -> None:
        checks.stop_if_unguarded()
        stop = Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        while not stop.wait(min(LOOK_EVERY, settings.SWEEP_EVERY).total_seconds()):
            self.look()
            if note:
                note.touch()

    def look(self) -> bool:
        """Sweep if it is our turn; whether it was. The database may be away too: then the next look asks again."""
        close_old_connections()
        try:
            if not self.our_turn():
                return False
            for name, entry in settings.CELERY_BEAT_SCHEDULE.items():
                if entry["schedule"] == settings.SWEEP_EVERY:
                    self.sweep(name)
            _, self.own = self.heard()
        except Exception as fault:
            log.error("The stand-in looks again in a moment: %s", faults.told(fault))
            return False
        return True

    def our_turn(self) -> bool:
        silence, beat_at = self.heard()
        if beat_at is not None and beat_at == self.own:  # still nobody else
            return silence >= settings.SWEEP_EVERY
        if silence > MISSED * settings.SWEEP_EVERY:
            log.warning("No worker has sent messages for a while: sweeping here until one does.")
            return True
        return False

    def heard(self) -> tuple[timedelta, datetime | None]:
        at = tasks.database_now()
        silence = heartbeats.silent_for(heartbeats.DISPATCHER, at=at)
        return silence, None if silence == heartbeats.NEVER else at - silence

    def sweep(self, name: str) -> None:
        try:
            current_app.tasks[name]()
        except Exception as fault:  # the other sweeps go on
            log.error("%s failed: %s", name, faults.told(fault))
