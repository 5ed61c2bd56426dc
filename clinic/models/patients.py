"""The patient: only what scheduling and follow-up need, and nothing that merely came along in an import."""

import uuid

from django.db import models
from django.db.models.functions import Lower

from clinic.models.scoping import SiteQuerySet
from clinic.models.sites import Site


class Sex(models.TextChoices):
    """FHIR administrative gender."""

    FEMALE = "female"
    MALE = "male"
    OTHER = "other"
    UNKNOWN = "unknown"


class Patient(models.Model):
    """A person under our care (FHIR Patient)."""

    SITE_PATH = "site"
    PERSONAL = ("mrn", "family_name", "given_name", "birth_date", "sex", "email", "phone", "deceased_on", "language")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="patients")
    mrn_system = models.CharField("identifier system", max_length=200, blank=True)
    mrn = models.CharField("medical record number", max_length=100)
    family_name = models.CharField(max_length=120)
    given_name = models.CharField(max_length=120, blank=True)
    birth_date = models.DateField(null=True, blank=True)
    sex = models.CharField(max_length=10, choices=Sex, default=Sex.UNKNOWN)
    email = models.EmailField(blank=True)
    phone = models.CharField(max_length=40, blank=True)
    language = models.CharField(max_length=20, default="en", help_text="BCP 47: en, es-MX, de.")
    deceased = models.BooleanField(default=False, help_text="A deceased patient is never written to.")
    deceased_on = models.DateField(null=True, blank=True)
    registered_at = models.DateTimeField()
    import_order = models.PositiveIntegerField(
        null=True, blank=True, editable=False, help_text="Place in the file this patient was imported from, from 1."
    )

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["site", "mrn_system", "mrn"], name="one_patient_per_identifier"),
            models.CheckConstraint(
                condition=models.Q(deceased=True) | models.Q(deceased_on__isnull=True),
                name="only_the_deceased_have_a_date_of_death",
            ),
        ]
        indexes = [models.Index(Lower("family_name"), Lower("given_name"), name="patient_by_name")]

    def __str__(self) -> str:
        return f"{self.family_name}, {self.given_name}" if self.given_name else self.family_name
