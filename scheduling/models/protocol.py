"""A protocol: which visits, which steps, how long, what they need. Data, edited in the admin, never code
(FHIR PlanDefinition). A protocol in use is not edited: a change is a new version."""

from django.db import models

from scheduling.models.evaluation import CriteriaSet
from scheduling.models.product import Product


class Visit(models.TextChoices):
    HARVEST = "harvest", "Harvest day"
    PROCEDURE = "procedure", "Procedure day"
    MRI = "mri", "MRI"


class ResourceKind(models.TextChoices):
    """Everything that can be busy. Each unit of capacity is a row of its own; the patient is one too."""

    PATIENT = "patient"
    INTERVENTIONALIST = "interventionalist"
    RADIOGRAPHER = "radiographer"
    NURSE = "nurse"
    CELL_OPERATOR = "cell_operator", "Cell-processing operator"
    PROCEDURE_ROOM = "procedure_room"
    FLUOROSCOPY_SUITE = "fluoroscopy_suite"
    C_ARM = "c_arm", "C-arm"
    BENCH = "bench", "Cell-processing bench"
    CABINET = "cabinet", "Biosafety cabinet"
    RECOVERY_BAY = "recovery_bay"
    MRI_SCANNER = "mri_scanner", "MRI scanner"


class StepCode(models.TextChoices):
    CHECK_IN = "check_in", "Check-in"
    HARVEST = "harvest"
    PROCESSING = "processing"
    THAW = "thaw", "Thaw and preparation"
    INJECTION = "injection"
    RECOVERY = "recovery"
    MRI = "mri", "MRI"


class Protocol(models.Model):
    code = models.SlugField()
    version = models.PositiveSmallIntegerField(default=1)
    name = models.CharField(max_length=160)
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="+")
    criteria = models.ForeignKey(CriteriaSet, on_delete=models.PROTECT, related_name="+")
    basis = models.TextField(blank=True, help_text="Where the times and offsets come from.")
    units_per_level = models.PositiveSmallIntegerField(default=0, help_text="Allogeneic units for each disc level.")
    dose_million = models.DecimalField(
        "cells in each unit (million)",
        max_digits=8,
        decimal_places=2,
        null=True,
        blank=True,
        help_text="Only units of this dose are given. Empty: the product comes in one dose.",
    )
    max_levels = models.PositiveSmallIntegerField(default=2)
    expansion_days_min = models.PositiveSmallIntegerField(null=True, blank=True, help_text="Harvest to injection.")
    expansion_days_max = models.PositiveSmallIntegerField(null=True, blank=True)
    active = models.BooleanField(default=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["code", "version"], name="one_protocol_per_version")]

    def __str__(self) -> str:
        return f"{self.name} (version {self.version})"


class ProtocolStep(models.Model):
    """One step of one visit: how long, and how long after the one before."""

    protocol = models.ForeignKey(Protocol, on_delete=models.CASCADE, related_name="steps")
    visit = models.CharField(max_length=10, choices=Visit)
    order = models.PositiveSmallIntegerField()
    code = models.CharField(max_length=15, choices=StepCode)
    minutes = models.PositiveSmallIntegerField()
    minutes_per_extra_level = models.PositiveSmallIntegerField(default=0)
    gap_min = models.PositiveSmallIntegerField("least gap before (minutes)", default=0)
    gap_max = models.PositiveSmallIntegerField("greatest gap before (minutes)", default=0)

    class Meta:
        ordering = ["protocol", "visit", "order"]
        constraints = [
            models.UniqueConstraint(fields=["protocol", "visit", "order"], name="one_step_per_place"),
            models.CheckConstraint(condition=models.Q(gap_min__lte=models.F("gap_max")), name="gap_min_within_max"),
            models.CheckConstraint(condition=models.Q(minutes__gt=0), name="a_step_takes_time"),
        ]

    def __str__(self) -> str:
        return self.get_code_display()


class StepNeed(models.Model):
    """What a step needs: how many of which kind, able to do what, and who must stay the same throughout."""

    step = models.ForeignKey(ProtocolStep, on_delete=models.CASCADE, related_name="needs")
    kind = models.CharField(max_length=20, choices=ResourceKind)
    capability = models.CharField(max_length=40, blank=True)
    count = models.PositiveSmallIntegerField(default=1)
    role = models.CharField(max_length=40, blank=True, help_text="The same word in several steps: the same person.")
    setup_minutes = models.PositiveSmallIntegerField(default=0, help_text="Made ready before the step.")
    turnover_minutes = models.PositiveSmallIntegerField(default=0, help_text="Cleaning and reset after the step.")

    class Meta:
        ordering = ["step", "id"]
        constraints = [models.CheckConstraint(condition=models.Q(count__gt=0), name="a_need_counts")]

    def __str__(self) -> str:
        return f"{self.count} {self.get_kind_display()}"
