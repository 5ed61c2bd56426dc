"""When each sweep last went through, where everybody can ask: in the database, not in the broker that may be down."""

from django.db import models


class Heartbeat(models.Model):
    """One row for each sweep, written over at the end of every run that went through. Read by `clinic.heartbeats`."""

    name = models.CharField(max_length=60, primary_key=True)
    beat_at = models.DateTimeField(help_text="By the database's clock.")
    counts = models.JSONField(default=dict, help_text="What the last run did: a number for each part, never a name.")

    def __str__(self) -> str:
        return self.name
