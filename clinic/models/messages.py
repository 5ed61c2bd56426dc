"""A message is a row before it is an e-mail."""

import uuid

from django.db import models
from django.db.models.functions import Coalesce

from clinic.models.patients import Patient
from clinic.models.scoping import SiteQuerySet
from clinic.models.sites import Site
from clinic.states import MessageStatus


class Channel(models.TextChoices):
    EMAIL = "email", "E-mail"
    SMS = "sms", "SMS"
    PHONE = "phone", "Phone call"  # a task for a person: no worker ever claims it


# When something went out; or should have, if it did not.
MOMENT = Coalesce("sent_at", "due_at")


class Message(models.Model):
    """One thing to say once to one patient. Nothing of its text is stored until it is sent: it is rendered from the
    state as it is at that moment. Unique by (kind, about, occasion, version, channel), so it cannot be queued twice."""

    SITE_PATH = "site"
    PERSONAL = ("sent_to",)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="+")
    patient = models.ForeignKey(Patient, on_delete=models.PROTECT, related_name="messages")
    kind = models.CharField(max_length=40, help_text="A name in settings.MESSAGE_KINDS.")
    about = models.CharField(max_length=40, help_text="Primary key of the row this message is about.")
    occasion = models.CharField(max_length=40, blank=True, help_text="Which of several: 7d, 1d, invite, +14.")
    version = models.PositiveIntegerField(default=1, help_text="Version of the row when the message became due.")
    channel = models.CharField(max_length=10, choices=Channel, default=Channel.EMAIL)
    status = models.CharField(max_length=10, choices=MessageStatus, default=MessageStatus.DUE)
    due_at = models.DateTimeField()
    not_after = models.DateTimeField(null=True, blank=True, help_text="Pointless after this; then it is skipped.")
    attempts = models.PositiveIntegerField(default=0, help_text="Also the fence: a stale worker cannot settle.")
    lease_until = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(blank=True, help_text="Why it was skipped, failed or is unknown.")
    subject = models.CharField(max_length=200, blank=True)
    sent_to = models.CharField(max_length=254, blank=True, help_text="Address or number, as it was used.")
    sent_at = models.DateTimeField(null=True, blank=True)

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "about", "occasion", "version", "channel"], name="one_message_per_occasion"
            ),
            models.CheckConstraint(
                condition=models.Q(status=MessageStatus.SENT, sent_at__isnull=False)
                | ~models.Q(status=MessageStatus.SENT),
                name="a_sent_message_says_when",
            ),
        ]
        # A sweep reads the first two (`clinic.outbox`): what is settled is in neither, however much of it there is.
        indexes = [
            models.Index(
                fields=["status", "channel", "lease_until", "due_at", "id"],
                condition=models.Q(status__in=[MessageStatus.DUE, MessageStatus.SENDING]),
                name="messages_to_work_on",
            ),
            models.Index(
                fields=["status"],
                condition=models.Q(status__in=[MessageStatus.UNKNOWN, MessageStatus.FAILED]),
                name="messages_for_a_person",
            ),
            models.Index(MOMENT, name="messages_by_moment"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.occasion}".strip()

    @property
    def message_id(self) -> str:
        """The Message-ID header: the same for every attempt, so that a delivery ledger can be asked about it."""
        return f"<{self.id}@pulposus>"
