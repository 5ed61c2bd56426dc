"""What changed, who changed it, when and why. Rows are written, never edited, and outlive what they describe."""

from django.db import models


class StatusChange(models.Model):
    """One move of one status, written in the transaction that made it. By name, not by foreign key, on purpose."""

    PERSONAL = ("reason",)

    subject = models.CharField(max_length=80, help_text="Model label, for example scheduling.Appointment.")
    subject_id = models.CharField(max_length=40)
    was = models.CharField(max_length=30, blank=True)
    became = models.CharField(max_length=30)
    by = models.CharField(max_length=150)
    at = models.DateTimeField()
    reason = models.TextField(blank=True)

    class Meta:
        indexes = [models.Index(fields=["subject", "subject_id", "at"], name="changes_of_a_thing")]

    def __str__(self) -> str:
        return f"{self.was or 'new'} -> {self.became}"
