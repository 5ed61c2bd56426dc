"""Step 6: fit to go home, and going home."""

from typing import Any

from django.core.validators import MaxValueValidator
from django.db import models

from clinic.models.scoping import SiteQuerySet
from scheduling.models import Injection

ITEM: dict[str, Any] = {"validators": [MaxValueValidator(2)], "help_text": "0-2"}


class RecoveryScore(models.Model):
    """Post-anaesthetic discharge score: five items of 0 to 2; 9 or more is fit to go home
    (Chung 1995; clinical facts 4.5)."""

    SITE_PATH = "injection__appointment__site"
    ITEMS = ("vital_signs", "activity", "comfort", "bleeding", "intake")

    injection = models.ForeignKey(Injection, on_delete=models.PROTECT, related_name="+")
    scored_at = models.DateTimeField()
    scored_by = models.CharField(max_length=150)
    vital_signs = models.PositiveSmallIntegerField(**ITEM)
    activity = models.PositiveSmallIntegerField("activity and mental status", **ITEM)
    comfort = models.PositiveSmallIntegerField("pain, nausea and vomiting", **ITEM)
    bleeding = models.PositiveSmallIntegerField(**ITEM)
    intake = models.PositiveSmallIntegerField("intake and output", **ITEM)

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(vital_signs__lte=2, activity__lte=2, comfort__lte=2, bleeding__lte=2, intake__lte=2),
                name="recovery_items_0_to_2",
            )
        ]

    def __str__(self) -> str:
        return f"{self.total} of 10"

    @property
    def total(self) -> int:
        return sum(getattr(self, item) for item in self.ITEMS)


class Discharge(models.Model):
    """Going home: on a score of 9 or more, and in company (clinical facts 4.5)."""

    SITE_PATH = "injection__appointment__site"
    PERSONAL = ("escorted_by", "note")

    injection = models.OneToOneField(Injection, on_delete=models.PROTECT, related_name="+")
    score = models.ForeignKey(RecoveryScore, on_delete=models.PROTECT, related_name="+")
    discharged_at = models.DateTimeField()
    discharged_by = models.CharField(max_length=150)
    escorted_by = models.CharField(max_length=120)
    note = models.TextField(blank=True)

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~models.Q(escorted_by=""), name="nobody_goes_home_alone"),
        ]

    def __str__(self) -> str:
        return f"Discharge of {self.injection.episode.patient}"
