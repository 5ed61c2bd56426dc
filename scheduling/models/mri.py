"""An MRI study and what was read in it, disc by disc (FHIR ImagingStudy and Observation)."""

import uuid
from collections import defaultdict

from django.db import models

from clinic.models import Patient, Site
from clinic.models.scoping import SiteQuerySet
from scheduling import grades


class Scale(models.TextChoices):
    """Grades of the two scales are not interchangeable, so a grade is never kept without its scale."""

    PFIRRMANN = "pfirrmann5", "Pfirrmann I-V"
    MODIFIED = "modified8", "Modified Pfirrmann 1-8"


class Level(models.TextChoices):
    """Intervertebral discs from the bottom up, as the lumbar column is numbered in imaging."""

    L5_S1 = "L5/S1"
    L4_5 = "L4/5"
    L3_4 = "L3/4"
    L2_3 = "L2/3"
    L1_2 = "L1/2"
    T12_L1 = "T12/L1"
    T11_12 = "T11/12"
    T10_11 = "T10/11"
    T9_10 = "T9/10"
    T8_9 = "T8/9"
    T7_8 = "T7/8"
    T6_7 = "T6/7"
    T5_6 = "T5/6"
    T4_5 = "T4/5"
    T3_4 = "T3/4"
    T2_3 = "T2/3"
    T1_2 = "T1/2"


class ReaderRole(models.TextChoices):
    """Two people read a disc apart from each other; where they differ, they agree on a third reading."""

    FIRST = grades.FIRST, "First reader"
    SECOND = grades.SECOND, "Second reader"
    CONSENSUS = grades.CONSENSUS


LUMBAR = (Level.L1_2, Level.L2_3, Level.L3_4, Level.L4_5, Level.L5_S1)


class MriStudy(models.Model):
    """One MRI of one spine. A study that arrived without a known patient waits until a person assigns it."""

    SITE_PATH = "site"
    PERSONAL = ("identifier", "report")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="+")
    patient = models.ForeignKey(Patient, on_delete=models.PROTECT, null=True, blank=True, related_name="mri_studies")
    identifier = models.CharField(max_length=100, help_text="The study's or subject's number where it came from.")
    acquired_on = models.DateField(null=True, blank=True)
    device = models.ForeignKey(
        "scheduling.Resource",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name="our scanner",
        help_text="Empty if it was made elsewhere.",
    )
    scanner = models.CharField(max_length=120, blank=True, help_text="Only if it is not one of ours.")
    field_strength_tesla = models.DecimalField(max_digits=3, decimal_places=1, null=True, blank=True)
    sequence = models.CharField(max_length=200, blank=True, help_text="For example: sagittal T2 and T1.")
    read_by = models.CharField(max_length=120, blank=True)
    report = models.TextField(blank=True)

    objects = SiteQuerySet.as_manager()

    class Meta:
        verbose_name = "MRI study"
        verbose_name_plural = "MRI studies"
        constraints = [
            models.UniqueConstraint(fields=["site", "identifier"], name="one_study_per_identifier"),
            models.CheckConstraint(
                condition=models.Q(device__isnull=True) | models.Q(scanner=""), name="a_study_has_one_scanner"
            ),
        ]

    def __str__(self) -> str:
        return f"MRI {self.identifier}"

    @property
    def made_on(self) -> str:
        """The scanner by its name, ours or another's."""
        return self.device.name if self.device else self.scanner

    def by_level(self) -> dict[str, list["DiscReading"]]:
        """Every reading of every disc, in the order in which they were made."""
        read: dict[str, list[DiscReading]] = defaultdict(list)
        for disc in self.discs.all():
            read[disc.level].append(disc)
        return read

    def findings(self) -> dict[str, "DiscReading | None"]:
        """What holds of each disc that was read; None where two readers differ and have not agreed yet."""
        return {level: grades.final(discs) for level, discs in self.by_level().items()}


class DiscReading(models.Model):
    """What a reader saw in one disc. Unknown is null, never 0."""

    SITE_PATH = "study__site"

    study = models.ForeignKey(MriStudy, on_delete=models.CASCADE, related_name="discs")
    level = models.CharField(max_length=10, choices=Level)
    role = models.CharField(max_length=10, choices=ReaderRole, default=ReaderRole.FIRST)
    read_by = models.CharField(max_length=120, blank=True)
    read_at = models.DateTimeField(null=True, blank=True)
    blinded = models.BooleanField(null=True, blank=True, help_text="The reader did not know how the patient feels.")
    scale = models.CharField(max_length=12, choices=Scale)
    grade = models.PositiveSmallIntegerField(help_text="1-5 on the Pfirrmann scale, 1-8 on the modified one.")
    modic = models.PositiveSmallIntegerField(null=True, blank=True, help_text="Modic type 0-3.")
    upper_endplate_change = models.BooleanField(null=True, blank=True)
    lower_endplate_change = models.BooleanField(null=True, blank=True)
    spondylolisthesis = models.BooleanField(null=True, blank=True)
    spondylolisthesis_grade = models.PositiveSmallIntegerField(null=True, blank=True, help_text="0-5.")
    herniation = models.BooleanField(null=True, blank=True)
    narrowing = models.BooleanField(null=True, blank=True)
    bulging = models.BooleanField(null=True, blank=True)
    height_loss_pct = models.PositiveSmallIntegerField("height loss (%)", null=True, blank=True)

    objects = SiteQuerySet.as_manager()

    class Meta:
        ordering = ["study", "id"]
        constraints = [
            models.UniqueConstraint(fields=["study", "level", "role"], name="one_reading_per_disc_and_reader"),
            models.CheckConstraint(
                condition=models.Q(scale=Scale.PFIRRMANN, grade__range=(1, 5))
                | models.Q(scale=Scale.MODIFIED, grade__range=(1, 8)),
                name="grade_fits_its_scale",
            ),
            models.CheckConstraint(
                condition=models.Q(modic__isnull=True) | models.Q(modic__range=(0, 3)), name="modic_type_0_to_3"
            ),
            models.CheckConstraint(
                condition=models.Q(spondylolisthesis_grade__isnull=True)
                | models.Q(spondylolisthesis_grade__range=(0, 5)),
                name="listhesis_grade_0_to_5",
            ),
            models.CheckConstraint(
                condition=models.Q(height_loss_pct__isnull=True) | models.Q(height_loss_pct__lte=100),
                name="height_loss_within_100",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.level} grade {self.grade}"
