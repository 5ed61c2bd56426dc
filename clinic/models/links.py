"""Secret links and machine tokens: only hashes are kept."""

import uuid

from django.db import models
from django.utils import timezone

from clinic.models.scoping import SiteQuerySet
from clinic.models.sites import Site


class Purpose(models.TextChoices):
    SURVEY = "survey"
    FEED = "feed"
    WAITLIST = "waitlist"
    VISIT = "visit"
    STOP = "stop"


class Link(models.Model):
    """Permission to open one page without a login. The token is derived from LINK_KEY, this row's id and its
    generation, so that a retried e-mail carries the same link; the row keeps only the token's SHA-256."""

    SITE_PATH = "site"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="+")
    purpose = models.CharField(max_length=10, choices=Purpose)
    about = models.CharField(max_length=80, help_text="Model label of the row the link opens.")
    about_id = models.CharField(max_length=40)
    generation = models.PositiveIntegerField(default=1, help_text="Raised to rotate: the old link stops at once.")
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["purpose", "about", "about_id"], name="one_link_per_purpose")]

    def __str__(self) -> str:
        return f"{self.purpose} link"


class ApiToken(models.Model):
    """A machine client's key to the API: hashed, for one site, expiring, revocable."""

    SITE_PATH = "site"

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=120, help_text="Which system uses it.")
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    may_write = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = SiteQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name
