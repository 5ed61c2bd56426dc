"""Step 1: a referral received, accepted or declined (FHIR ServiceRequest)."""

import uuid

from django.db import models

from clinic.models import Patient
from clinic.models.scoping import SiteQuerySet
from scheduling.states import ReferralStatus


class Referral(models.Model):
    SITE_PATH = "patient__site"
    PERSONAL = ("source", "reason")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    patient = models.ForeignKey(Patient, on_delete=models.PROTECT, related_name="referrals")
    source = models.CharField(max_length=200, help_text="Who referred: a practice, a clinician, the patient.")
    reason = models.TextField(help_text="Why, in the referrer's words.")
    received_on = models.DateField()
    status = models.CharField(max_length=10, choices=ReferralStatus, default=ReferralStatus.RECEIVED)

    objects = SiteQuerySet.as_manager()

    def __str__(self) -> str:
        return f"Referral of {self.patient}"
