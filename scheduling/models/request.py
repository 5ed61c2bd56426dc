"""Beside step 3: what a patient asks of a booked visit by themselves."""

from django.db import models

from clinic.models.scoping import SiteQuerySet
from scheduling.models.appointment import Appointment


class MoveRequest(models.Model):
    """The patient asks for another time. It is about the time they saw (`version`): a visit that has moved, or ended,
    has left the request behind, and nobody has to settle it."""

    SITE_PATH = "appointment__site"

    appointment = models.ForeignKey(Appointment, on_delete=models.CASCADE, related_name="move_requests")
    version = models.PositiveIntegerField()
    asked_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True, blank=True)
    settled_by = models.CharField(max_length=150, blank=True)

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["appointment", "version"],
                condition=models.Q(settled_at__isnull=True),
                name="one_open_request_per_time_of_a_visit",
            ),
            models.CheckConstraint(
                condition=models.Q(settled_at__isnull=True, settled_by="")
                | (models.Q(settled_at__isnull=False) & ~models.Q(settled_by="")),
                name="a_settled_request_says_when_and_by_whom",
            ),
        ]

    def __str__(self) -> str:
        return f"Another time for the {self.appointment}"
