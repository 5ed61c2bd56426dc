"""What is known of a mail after it left: what a provider told us of it, what our own relay's log says, and how many
left in which minute."""

from django.db import models

from clinic.models.messages import Message
from clinic.models.scoping import SiteQuerySet


class DeliveryFact(models.TextChoices):
    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    COMPLAINED = "complained", "Reported as unwanted"


class DeliveryEvent(models.Model):
    """What a mail provider, or a mail server on the way, told us of one message. Noted by `clinic.ledger.note`."""

    SITE_PATH = "message__site"
    PERSONAL = ("words",)

    message = models.ForeignKey(Message, on_delete=models.PROTECT, related_name="delivery_events")
    event = models.CharField(max_length=12, choices=DeliveryFact)
    at = models.DateTimeField()
    words = models.TextField(blank=True, help_text="As the server said them; they may quote the address.")

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["message", "event", "at"], name="a_delivery_event_is_noted_once")
        ]

    def __str__(self) -> str:
        return self.get_event_display()


class RelayEntry(models.Model):
    """One mail that passed through our own relay, out of its log: the queue id it was given, its Message-ID, and when
    it was surely in the queue. A Message-ID alone is no proof: Postfix logs it while the text still travels."""

    queue_id = models.CharField(max_length=40)
    message_id = models.CharField(max_length=100, db_index=True)
    seen_at = models.DateTimeField(help_text="When the relay had read the Message-ID.")
    queued_at = models.DateTimeField(null=True, blank=True, help_text="When the mail was surely the relay's.")

    class Meta:
        verbose_name_plural = "relay entries"
        constraints = [  # a queue id may come again, for another mail
            models.UniqueConstraint(fields=["queue_id", "message_id"], name="one_relay_entry_per_mail")
        ]

    def __str__(self) -> str:
        return self.queue_id


class RelayLog(models.Model):
    """How much of a relay's log has been read: all it took between these two moments is in RelayEntry."""

    name = models.CharField(max_length=200, unique=True, help_text="Which log: a relay's host, or a file.")
    complete_from = models.DateTimeField()
    complete_until = models.DateTimeField()
    mark = models.CharField(max_length=100, blank=True, help_text="Where the reader goes on.")

    def __str__(self) -> str:
        return self.name


class SendCount(models.Model):
    """How many messages left in one minute, of all (no name) or to one mail domain, and how many had to wait."""

    name = models.CharField(max_length=254, blank=True)
    minute = models.DateTimeField()
    sent = models.PositiveIntegerField()
    refused = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["name", "minute"], name="one_send_count_per_minute")]

    def __str__(self) -> str:
        return f"{self.name or 'all'} {self.minute:%H:%M}"
