"""Step 6 and 7: something untoward that happened to a patient, whatever caused it (FHIR AdverseEvent)."""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from clinic.models.scoping import SiteQuerySet
from followup.models.alert import Alert
from followup.states import AdverseEventStatus
from scheduling.models import Episode


class CtcaeVersion(models.TextChoices):
    """Studies that began with 5.0 stay with it, so a grade is never kept without its version (clinical facts 4.6)."""

    V5 = "5.0", "CTCAE 5.0"
    V6 = "6.0", "CTCAE 6.0"


class Criterion(models.TextChoices):
    """What makes an event serious: the outcomes listed in 21 CFR 312.32(a), in short."""

    DEATH = "death"
    LIFE_THREATENING = "life-threatening", "Life-threatening"
    HOSPITALISATION = "hospitalisation", "Hospital stay, or a longer one"
    DISABILITY = "disability", "Persistent or significant incapacity"
    CONGENITAL_ANOMALY = "congenital-anomaly", "Congenital anomaly or birth defect"
    IMPORTANT = "important", "Another important medical event"


class Causality(models.TextChoices):
    """FHIR R4 AdverseEvent.suspectEntity.causality.assessment, by the codes of its value set
    (hl7.org/fhir/R4/valueset-adverse-event-causality-assess.html)."""

    CERTAIN = "certain"
    PROBABLE = "probably-likely", "Probable or likely"
    POSSIBLE = "possible"
    UNLIKELY = "unlikely"
    CONDITIONAL = "conditional-classified", "Conditional: more must be known"
    UNASSESSABLE = "unassessable-unclassifiable", "Unassessable"


class EventOutcome(models.TextChoices):
    """FHIR R4 AdverseEvent.outcome."""

    ONGOING = "ongoing"
    RECOVERING = "recovering"
    RESOLVED = "resolved"
    RESOLVED_WITH_SEQUELAE = "resolved-with-sequelae", "Resolved with sequelae"
    FATAL = "fatal"
    UNKNOWN = "unknown", "Not known"


OVER = (EventOutcome.RESOLVED, EventOutcome.RESOLVED_WITH_SEQUELAE, EventOutcome.FATAL)
DEATH_GRADE = 5
DEAD = models.Q(grade=DEATH_GRADE, outcome=EventOutcome.FATAL, seriousness__contains=[Criterion.DEATH])
ALIVE = (
    models.Q(grade__lt=DEATH_GRADE)
    & ~models.Q(outcome=EventOutcome.FATAL)
    & ~models.Q(seriousness__contains=[Criterion.DEATH])
)


class AdverseEvent(models.Model):
    """One event, as it is known now; what was known before stays in its trail. It hangs on the treatment, and may have
    come to light through an alert."""

    SITE_PATH = "episode__patient__site"
    PERSONAL = ("term",)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    episode = models.ForeignKey(Episode, on_delete=models.PROTECT, related_name="+")
    alert = models.ForeignKey(Alert, on_delete=models.PROTECT, null=True, blank=True, related_name="adverse_events")
    term = models.CharField("what happened", max_length=300)
    ctcae_version = models.CharField("graded by", max_length=5, choices=CtcaeVersion)
    grade = models.PositiveSmallIntegerField(validators=[MinValueValidator(1), MaxValueValidator(5)])
    seriousness = ArrayField(
        models.CharField(max_length=20, choices=Criterion), default=list, blank=True, help_text="None: not serious."
    )
    related_to_procedure = models.CharField(max_length=30, choices=Causality, blank=True)
    related_to_product = models.CharField(max_length=30, choices=Causality, blank=True)
    related_to_harvest = models.CharField(max_length=30, choices=Causality, blank=True)
    expected = models.BooleanField(null=True, blank=True, help_text="Whether the product's papers foresee it.")
    onset_on = models.DateField("began on")
    outcome = models.CharField(max_length=25, choices=EventOutcome, default=EventOutcome.ONGOING)
    resolved_on = models.DateField("over on", null=True, blank=True)
    status = models.CharField(max_length=20, choices=AdverseEventStatus, default=AdverseEventStatus.OPEN)
    recorded_by = models.CharField(max_length=150)
    recorded_at = models.DateTimeField()

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(grade__range=(1, DEATH_GRADE)), name="ctcae_grade_1_to_5"),
            models.CheckConstraint(
                condition=models.Q(resolved_on__isnull=True) | models.Q(resolved_on__gte=models.F("onset_on")),
                name="an_event_ends_after_it_begins",
            ),
            models.CheckConstraint(
                condition=models.Q(resolved_on__isnull=True) | models.Q(outcome__in=OVER),
                name="only_what_is_over_has_an_end",
            ),
            models.CheckConstraint(condition=DEAD | ALIVE, name="a_death_is_fatal_serious_and_grade_5"),
        ]
        indexes = [
            models.Index(
                fields=["recorded_at"],
                condition=models.Q(status__in=[AdverseEventStatus.OPEN, AdverseEventStatus.FOLLOWED]),
                name="live_adverse_events",
            )
        ]

    def __str__(self) -> str:
        return f"{self.term}: {self.episode.patient}"

    @property
    def serious(self) -> bool:
        return bool(self.seriousness)
