"""Mail that came back: what the other side said of it, and whether somebody has seen to it."""

from django.db import models

from clinic.models.messages import Message
from clinic.models.patients import Patient
from clinic.models.scoping import SiteQuerySet


class ReturnKind(models.TextChoices):
    BOUNCED = "bounced", "Not delivered"
    COMPLAINED = "complained", "Reported as unwanted"


class ReturnedMail(models.Model):
    """One message that came back from one address. While it stands, and the patient still has that address, nothing
    more is sent there if `permanent`: with another address it no longer says anything about the patient."""

    SITE_PATH = "patient__site"
    PERSONAL = ("address", "words")

    patient = models.ForeignKey(Patient, on_delete=models.CASCADE, related_name="returned")
    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=10, choices=ReturnKind)
    address = models.EmailField()
    permanent = models.BooleanField(help_text="It will not arrive tomorrow either: nothing more is sent there.")
    words = models.TextField(blank=True, help_text="What the other side said.")
    returned_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True, blank=True)
    settled_by = models.CharField(max_length=150, blank=True)

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["message", "kind"], name="one_return_per_message_and_kind"),
            models.CheckConstraint(
                condition=models.Q(settled_at__isnull=True, settled_by="")
                | (models.Q(settled_at__isnull=False) & ~models.Q(settled_by="")),
                name="a_settled_return_says_when_and_by_whom",
            ),
        ]
        indexes = [
            models.Index(fields=["patient"], condition=models.Q(settled_at__isnull=True), name="returns_that_stand")
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: mail to {self.patient}"
