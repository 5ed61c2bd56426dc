"""What a patient does not want to hear, and by which way."""

from django.db import models
from django.utils.translation import gettext_lazy

from clinic.models.messages import Channel
from clinic.models.patients import Patient
from clinic.models.scoping import SiteQuerySet


class Category(models.TextChoices):
    """What a message is about, in the words the patient chooses by. Each kind of message names its own."""

    APPOINTMENTS = "appointments", gettext_lazy("My appointments: booked, moved, coming soon")
    SURVEYS = "surveys", gettext_lazy("Questions about how I am")
    RECOVERY = "recovery", gettext_lazy("Advice for the days after a treatment")
    WAITLIST = "waitlist", gettext_lazy("Offers of a sooner time")


class OptOut(models.Model):
    """A wish not to be written to: one way, and one category or all of them (""). It holds as long as the row stands;
    what was said and taken back is in the patient's StatusChange rows."""

    SITE_PATH = "patient__site"

    patient = models.ForeignKey(Patient, on_delete=models.CASCADE, related_name="optouts")
    channel = models.CharField(max_length=10, choices=Channel)
    category = models.CharField(max_length=20, choices=Category, blank=True, help_text="Empty: everything.")
    since = models.DateTimeField()

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["patient", "channel", "category"], name="one_opt_out_per_way_and_category")
        ]

    def __str__(self) -> str:
        return f"No {self.category or 'messages at all'} by {self.get_channel_display()}"
