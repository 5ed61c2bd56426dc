"""Step 2: what was found, what the criteria say to it, and who signed."""

import uuid
from datetime import date, timedelta

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from clinic.models.scoping import SiteQuerySet
from scheduling.models.mri import Level, MriStudy
from scheduling.models.referral import Referral
from scheduling.states import VerdictStatus


class Evaluation(models.Model):
    """History, examination and imaging as found on one day. A field left empty means "not known", and the criteria
    then say "cannot decide"; it never counts as a no."""

    SITE_PATH = "referral__patient__site"
    PERSONAL = ("notes",)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    referral = models.ForeignKey(Referral, on_delete=models.PROTECT, related_name="evaluations")
    evaluated_on = models.DateField()
    evaluated_by = models.CharField(max_length=150)
    mri = models.ForeignKey(MriStudy, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    target_levels = ArrayField(models.CharField(max_length=10, choices=Level), default=list, blank=True)
    # history
    pain_since = models.DateField(null=True, blank=True)
    back_pain_vas_mm = models.PositiveSmallIntegerField(
        "back pain VAS (mm)", null=True, blank=True, validators=[MaxValueValidator(100)]
    )
    leg_pain_vas_mm = models.PositiveSmallIntegerField(
        "leg pain VAS (mm)", null=True, blank=True, validators=[MaxValueValidator(100)]
    )
    odi_pct = models.DecimalField(
        "ODI (%)",
        max_digits=5,
        decimal_places=2,
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
    )
    treatments_reviewed = models.BooleanField(
        default=False,
        help_text="Tick when the list of prior treatments is complete: then what is missing was not done.",
    )
    opioid_mme_per_day = models.DecimalField(
        "opioids (MME a day)", max_digits=6, decimal_places=1, null=True, blank=True, validators=[MinValueValidator(0)]
    )
    # examination
    bmi = models.DecimalField(
        "BMI (kg/m2)",
        max_digits=4,
        decimal_places=1,
        null=True,
        blank=True,
        validators=[MinValueValidator(8), MaxValueValidator(99)],
    )
    translation_mm = models.DecimalField(
        "translation (mm)", max_digits=4, decimal_places=1, null=True, blank=True, validators=[MinValueValidator(0)]
    )
    angular_deg = models.DecimalField(
        "angulation (degrees)", max_digits=4, decimal_places=1, null=True, blank=True, validators=[MinValueValidator(0)]
    )
    t_score = models.DecimalField("bone density T-score", max_digits=3, decimal_places=1, null=True, blank=True)
    facet_primary = models.BooleanField("pain mainly from facet joints", null=True, blank=True)
    radiculopathy_from_compression = models.BooleanField(null=True, blank=True)
    # contraindications
    active_infection = models.BooleanField(null=True, blank=True)
    discitis = models.BooleanField(null=True, blank=True)
    prior_surgery_at_level = models.BooleanField(null=True, blank=True)
    prior_intradiscal_cell_product_at_level = models.BooleanField(null=True, blank=True)
    systemic_immunosuppressant = models.BooleanField(null=True, blank=True)
    mri_contraindicated = models.BooleanField(null=True, blank=True)
    pregnant = models.BooleanField(null=True, blank=True)
    breastfeeding = models.BooleanField(null=True, blank=True)
    childbearing_potential = models.BooleanField(null=True, blank=True)
    notes = models.TextField(blank=True)

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(back_pain_vas_mm__isnull=True) | models.Q(back_pain_vas_mm__lte=100),
                name="back_pain_vas_within_100",
            ),
            models.CheckConstraint(
                condition=models.Q(leg_pain_vas_mm__isnull=True) | models.Q(leg_pain_vas_mm__lte=100),
                name="leg_pain_vas_within_100",
            ),
            models.CheckConstraint(
                condition=models.Q(odi_pct__isnull=True) | models.Q(odi_pct__range=(0, 100)), name="odi_within_100"
            ),
        ]

    def __str__(self) -> str:
        return f"Evaluation of {self.referral.patient} on {self.evaluated_on:%d %b %Y}"


class Treatment(models.TextChoices):
    PHYSIOTHERAPY = "physiotherapy"
    EXERCISE = "exercise", "Exercise programme"
    NSAID = "nsaid", "NSAID"
    ANALGESIC = "analgesic", "Other analgesic"
    OPIOID = "opioid"
    EPIDURAL_STEROID = "epidural_steroid", "Epidural steroid injection"
    RADIOFREQUENCY = "radiofrequency", "Radiofrequency ablation"
    SURGERY = "surgery", "Spine surgery"
    OTHER = "other"


CONSERVATIVE = (
    Treatment.PHYSIOTHERAPY,
    Treatment.EXERCISE,
    Treatment.NSAID,
    Treatment.ANALGESIC,
    Treatment.OPIOID,
)


class PriorTreatment(models.Model):
    """Something tried before, with its dates; months of conservative care are counted from these rows."""

    SITE_PATH = "evaluation__referral__patient__site"
    PERSONAL = ("detail",)

    evaluation = models.ForeignKey(Evaluation, on_delete=models.CASCADE, related_name="treatments")
    kind = models.CharField(max_length=20, choices=Treatment)
    started_on = models.DateField()
    ended_on = models.DateField(null=True, blank=True, help_text="Empty: still going on.")
    detail = models.CharField(max_length=200, blank=True)

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(ended_on__isnull=True) | models.Q(ended_on__gte=models.F("started_on")),
                name="a_treatment_ends_after_it_starts",
            )
        ]

    def __str__(self) -> str:
        return self.get_kind_display()


class CriteriaSet(models.Model):
    """A versioned set of eligibility criteria: data that the clinic's medical lead owns. Never edited once loaded:
    a change is a new version."""

    version = models.CharField(max_length=60, unique=True)
    title = models.CharField(max_length=200)
    rules = models.JSONField(help_text="See scheduling.criteria.RuleSet.")
    valid_days = models.PositiveSmallIntegerField(help_text="A signed verdict allows booking for this many days.")
    loaded_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.version


class Outcome(models.TextChoices):
    ELIGIBLE = "eligible"
    NOT_ELIGIBLE = "not_eligible", "Not eligible"
    CANNOT_DECIDE = "cannot_decide", "Cannot decide: something is missing"


class Verdict(models.Model):
    """What the criteria said, line by line, and what a clinician signed."""

    SITE_PATH = "evaluation__referral__patient__site"
    PERSONAL = ("reasons", "override_reason")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    evaluation = models.ForeignKey(Evaluation, on_delete=models.PROTECT, related_name="verdicts")
    protocol = models.ForeignKey("scheduling.Protocol", on_delete=models.PROTECT, related_name="+")
    criteria = models.ForeignKey(CriteriaSet, on_delete=models.PROTECT, related_name="+")
    computed = models.CharField(max_length=15, choices=Outcome, help_text="What the criteria say.")
    outcome = models.CharField(max_length=15, choices=Outcome, help_text="What holds: signed, or overridden.")
    reasons = models.JSONField(help_text="One per criterion: id, outcome, severity, value, threshold, basis, line.")
    status = models.CharField(max_length=10, choices=VerdictStatus, default=VerdictStatus.DRAFT)
    override_reason = models.TextField(blank=True)
    signed_by = models.CharField(max_length=150, blank=True)
    signed_at = models.DateTimeField(null=True, blank=True)

    objects = SiteQuerySet.as_manager()

    class Meta:
        permissions = [("sign_verdict", "Can sign a verdict, or override it with a reason")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(status=VerdictStatus.DRAFT)
                | models.Q(status=VerdictStatus.WITHDRAWN)
                | (models.Q(signed_at__isnull=False) & ~models.Q(signed_by="")),
                name="a_signed_verdict_says_who_and_when",
            ),
            models.CheckConstraint(
                condition=models.Q(computed=models.F("outcome")) | ~models.Q(override_reason=""),
                name="an_override_has_a_reason",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_outcome_display()} ({self.criteria})"

    def expires_on(self, zone: object) -> date | None:
        """The last local day on which this verdict lets a procedure happen, or None if it is not signed."""
        if self.signed_at is None:
            return None
        return self.signed_at.astimezone(zone).date() + timedelta(days=self.criteria.valid_days)  # type: ignore[arg-type]
