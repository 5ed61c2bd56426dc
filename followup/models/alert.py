"""A worrying answer, until a person has dealt with it (FHIR Flag)."""

from django.db import models

from clinic.models.scoping import SiteQuerySet
from followup.models.event import FollowUpEvent
from followup.states import AlertStatus


class AlertKind(models.TextChoices):
    RED_FLAG = "red_flag", "Red-flag answer"
    PAIN_ROSE = "pain_rose", "Pain rose since baseline"


class Alert(models.Model):
    SITE_PATH = "event__episode__patient__site"
    PERSONAL = ("detail",)

    event = models.ForeignKey(FollowUpEvent, on_delete=models.PROTECT, related_name="alerts")
    kind = models.CharField(max_length=15, choices=AlertKind)
    detail = models.TextField()
    status = models.CharField(max_length=15, choices=AlertStatus, default=AlertStatus.RAISED)
    raised_at = models.DateTimeField()
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.CharField(max_length=150, blank=True, help_text="Who looks after it.")

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["event", "kind"],
                condition=models.Q(status=AlertStatus.RAISED),
                name="one_unseen_alert_per_event_and_kind",
            ),
            models.CheckConstraint(
                condition=models.Q(status=AlertStatus.RAISED, acknowledged_at__isnull=True, acknowledged_by="")
                | (~models.Q(status=AlertStatus.RAISED) & models.Q(acknowledged_at__isnull=False)),
                name="an_acknowledged_alert_says_by_whom_and_when",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.event.episode.patient}"
