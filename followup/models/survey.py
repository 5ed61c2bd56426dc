"""Step 7: instruments as data, and what patients answered."""

import uuid
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models

from clinic.models.scoping import SiteQuerySet
from clinic.status import StepRefused
from followup.models.event import FollowUpEvent
from followup.states import RESPONSE_FINISHED, ResponseStatus


class Licence(models.Model):
    """By what right a clinic asks in words that belong to others: the record it loaded, as somebody attested it."""

    holder = models.CharField(max_length=200)
    number = models.CharField(max_length=100)
    scope = models.TextField()
    languages = ArrayField(models.CharField(max_length=20), help_text="The wordings that it covers.")
    expires_on = models.DateField(help_text="The last day on which it may be asked.")
    attested_by = models.CharField(max_length=150)
    also = models.JSONField(default=dict, blank=True, help_text="What else the record says.")
    loaded_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.holder} {self.number}"


class Instrument(models.Model):
    """A questionnaire in one wording, language and recall period: FHIR Questionnaire JSON and the rules that score it.
    Wording that belongs to others is in use only with its licence; a placeholder only in a demo."""

    code = models.SlugField(max_length=30)
    version = models.CharField(max_length=30)
    language = models.CharField(max_length=20, default="en")
    recall = models.CharField(max_length=40, help_text="The time it asks about, for example: past 7 days.")
    title = models.CharField(max_length=120, help_text="Neutral: it is shown to patients and may be seen by others.")
    questionnaire = models.JSONField()
    scoring = models.CharField(max_length=20, help_text="The scale: vas, nrs, odi, rmdq, impression or symptoms.")
    rules = models.JSONField(help_text="How it is scored: see followup.rules.")
    placeholder = models.BooleanField(default=False, help_text="Neutral stand-in wording: demo and tests only.")
    licence = models.ForeignKey(Licence, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    active = models.BooleanField("in use", default=False)
    for_demo = models.BooleanField(default=False, help_text="Taken into use by a demo, which real patients never see.")
    loaded_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["code", "version", "language", "recall"], name="one_instrument_per_wording"
            ),
            models.UniqueConstraint(
                fields=["code", "language"], condition=models.Q(active=True), name="one_active_wording_per_language"
            ),
            models.CheckConstraint(
                condition=models.Q(active=False) | models.Q(placeholder=False) | models.Q(for_demo=True),
                name="a_placeholder_is_in_use_in_a_demo_only",
            ),
            models.CheckConstraint(
                condition=models.Q(active=False)
                | models.Q(placeholder=True)
                | models.Q(licence__isnull=False)
                | ~models.Q(rules__contains={"licensed": True}),
                name="licensed_wording_is_in_use_with_its_licence_only",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.title} {self.version} ({self.language})"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """The database cannot see whether this is a demo: here it is looked at, whoever saves."""
        if self.active and self.placeholder and not settings.DEMO:
            raise StepRefused(f"{self} is a placeholder: it works in demo mode only. Load the real wording instead.")
        super().save(*args, **kwargs)


class Mode(models.TextChoices):
    SELF = "self", "By the patient, electronically"
    PHONE = "phone", "By phone"
    PAPER = "paper", "From paper"


CORRECTION = "correction"
ANSWER_MODES = [*Mode.choices, (CORRECTION, "Corrected by staff")]


class InputMode(models.TextChoices):
    """By what a patient answered on the page: for who studies whether it matters."""

    LINE = "line", "A mark on the line"
    PICTURE = "picture", "A touch on the picture of the line"
    NUMBER = "number", "A number"


class Absent(models.TextChoices):
    """Why there is no value (FHIR data-absent-reason). All of them count as missing, and none as 0."""

    DECLINED = "asked-declined", "Skipped"
    OTHER_SCALE = "not-applicable", "Answered on the other scale"
    UNKNOWN = "unknown", "Not answered"


class Response(models.Model):
    """One patient's answers to one instrument at one time point (FHIR QuestionnaireResponse): at most one. It holds the
    latest state; how it came about is told by its `given`."""

    SITE_PATH = "event__episode__patient__site"
    PERSONAL = ("answers",)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    event = models.ForeignKey(FollowUpEvent, on_delete=models.PROTECT, related_name="responses")
    instrument = models.ForeignKey(Instrument, on_delete=models.PROTECT, related_name="+")
    instrument_code = models.CharField(max_length=30, editable=False)
    status = models.CharField(max_length=12, choices=ResponseStatus, default=ResponseStatus.IN_PROGRESS)
    mode = models.CharField(max_length=10, choices=Mode, default=Mode.SELF)
    recorded_by = models.CharField(max_length=150, blank=True, help_text="Staff, if not the patient.")
    answers = models.JSONField(default=dict, help_text="linkId -> value; null = asked and skipped.")
    started_at = models.DateTimeField()
    last_answer_at = models.DateTimeField()
    completed_at = models.DateTimeField(null=True, blank=True)
    raw = models.PositiveSmallIntegerField(null=True, blank=True, help_text="Sum of the answered items.")
    answered = models.PositiveSmallIntegerField(null=True, blank=True)
    score = models.DecimalField(max_digits=9, decimal_places=6, null=True, blank=True)
    score_status = models.CharField(max_length=15, blank=True, help_text="complete, prorated or insufficient.")
    scored = models.JSONField(
        default=dict, blank=True, help_text="By which rule, version and rounding, and why it is not complete."
    )

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["event", "instrument_code"], name="one_response_per_event_and_instrument"),
            models.CheckConstraint(
                condition=models.Q(status__in=RESPONSE_FINISHED, completed_at__isnull=False)
                | models.Q(status=ResponseStatus.IN_PROGRESS, completed_at__isnull=True),
                name="a_completed_response_says_when",
            ),
            models.CheckConstraint(
                condition=models.Q(mode=Mode.SELF) | ~models.Q(recorded_by=""),
                name="answers_taken_by_staff_say_by_whom",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.instrument.title}: {self.event}"


class Answer(models.Model):
    """One answer as it was given: written once, never edited. A correction is another row, with the reason; the value
    it takes the place of is the row before it."""

    SITE_PATH = "response__event__episode__patient__site"
    PERSONAL = ("value", "reason")

    response = models.ForeignKey(Response, on_delete=models.PROTECT, related_name="given")
    link_id = models.CharField(max_length=64)
    value = models.JSONField(null=True, blank=True, help_text="Several marks of one item on paper are a list.")
    absent = models.CharField(max_length=15, choices=Absent, blank=True, help_text="Why there is no value.")
    mode = models.CharField(max_length=10, choices=ANSWER_MODES)
    by = models.CharField(max_length=150, blank=True, help_text="Staff, if not the patient.")
    at = models.DateTimeField()
    input_mode = models.CharField(max_length=10, choices=InputMode, blank=True)
    reason = models.TextField(blank=True, help_text="Why it was corrected.")

    objects = SiteQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]  # as they came
        constraints = [
            models.CheckConstraint(
                condition=models.Q(value__isnull=True) ^ models.Q(absent=""), name="no_value_without_saying_why"
            ),
            models.CheckConstraint(
                condition=models.Q(mode=Mode.SELF) ^ ~models.Q(by=""), name="an_answer_by_staff_says_by_whom"
            ),
            models.CheckConstraint(
                condition=models.Q(mode=CORRECTION) ^ models.Q(reason=""), name="only_a_correction_has_a_reason"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.link_id}: {self.get_absent_display() if self.value is None else self.value}"
