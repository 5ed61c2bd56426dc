"""Step 5: what was injected, where, how, and when. Its end is the anchor of everything that follows."""

import uuid

from django.db import models

from clinic.models.scoping import SiteQuerySet
from scheduling.models.appointment import Appointment, Episode
from scheduling.models.mri import Level


class Injection(models.Model):
    """FHIR Procedure. Fluoroscopy figures are kept as displayed, with their unit."""

    SITE_PATH = "appointment__site"
    PERSONAL = ("kit", "notes")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    episode = models.OneToOneField(Episode, on_delete=models.PROTECT, related_name="injection")
    appointment = models.OneToOneField(Appointment, on_delete=models.PROTECT, related_name="injection")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    injected_by = models.CharField(max_length=150)
    matched_by = models.CharField(max_length=310, help_text="The two people who matched patient and cells at time-out.")
    matched_at = models.DateTimeField(help_text="The time-out, before the needle goes in.")
    kit = models.CharField("kit id", max_length=60, blank=True, help_text="Autologous: as read at time-out.")
    needle_gauge = models.PositiveSmallIntegerField()
    fluoroscopy_seconds = models.PositiveIntegerField(null=True, blank=True)
    dose_area_product = models.DecimalField(
        "dose-area product (Gy cm2)", max_digits=8, decimal_places=3, null=True, blank=True
    )
    air_kerma_mgy = models.DecimalField("air kerma (mGy)", max_digits=8, decimal_places=2, null=True, blank=True)
    notes = models.TextField(blank=True)

    objects = SiteQuerySet.as_manager()

    class Meta:
        permissions = [("record_injection", "Can record an injection")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(ended_at__gt=models.F("started_at")), name="an_injection_ends_after_it_starts"
            )
        ]

    def __str__(self) -> str:
        return f"Injection of {self.episode.patient}"


class InjectedLevel(models.Model):
    SITE_PATH = "injection__appointment__site"

    injection = models.ForeignKey(Injection, on_delete=models.CASCADE, related_name="levels")
    level = models.CharField(max_length=10, choices=Level)
    volume_ml = models.DecimalField("volume (mL)", max_digits=4, decimal_places=2)
    cells_million = models.DecimalField("cells (million)", max_digits=8, decimal_places=2, null=True, blank=True)

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["injection", "level"], name="each_level_is_injected_once"),
            models.CheckConstraint(condition=models.Q(volume_ml__gt=0), name="something_is_injected"),
        ]

    def __str__(self) -> str:
        return self.level
