"""Beside the steps: who waits for a time or a sooner one, which time became free, and what was offered to whom."""

import uuid
from typing import Any

from django.contrib.postgres.fields import ArrayField, DateTimeRangeField
from django.db import models
from django.db.models import F, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce

from clinic.models import Site
from clinic.models.scoping import SiteQuerySet
from scheduling.models.appointment import Appointment, Episode, Reservation
from scheduling.models.protocol import Visit
from scheduling.models.resource import Weekday
from scheduling.states import OfferStatus, WaitlistStatus

# An MRI has a window that only the follow-up knows: it is booked from there, and nobody waits for one here.
WAITED_FOR = (Visit.HARVEST, Visit.PROCEDURE)


class WaitlistQuerySet(SiteQuerySet):
    def waiting(self) -> "WaitlistQuerySet":
        """Who is on the list, in the order in which they are asked: who has waited longest is asked first."""
        return self.filter(status=WaitlistStatus.WAITING).order_by("added_at", "pk")

    def with_place(self) -> "WaitlistQuerySet":
        """Each with its `place` on its site's list, 1 for who is asked first; 0 once it has left."""
        before = Q(added_at__lt=OuterRef("added_at")) | Q(added_at=OuterRef("added_at"), pk__lte=OuterRef("pk"))
        ahead: models.QuerySet[Any] = (
            WaitlistEntry.objects.filter(
                before,
                status=WaitlistStatus.WAITING,
                episode__patient__site=OuterRef("episode__patient__site"),
            )
            .order_by()
            .values("status")
            .annotate(n=models.Count("pk"))
            .values("n")
        )
        waits = models.Case(
            models.When(status=WaitlistStatus.WAITING, then=Coalesce(Subquery(ahead), 0)),
            default=0,
            output_field=models.IntegerField(),
        )
        return self.annotate(place=waits)


class WaitlistEntry(models.Model):
    """A patient who would take a time, or a sooner one, if it became free, and which days would do."""

    SITE_PATH = "episode__patient__site"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    episode = models.ForeignKey(Episode, on_delete=models.PROTECT, related_name="waitlist_entries")
    visit = models.CharField(max_length=10, choices=Visit)
    earliest = models.DateField(null=True, blank=True, help_text="First day that would do. Empty: any.")
    latest = models.DateField(null=True, blank=True, help_text="Last day that would do. Empty: any.")
    weekdays = ArrayField(
        models.PositiveSmallIntegerField(choices=Weekday), default=list, blank=True, help_text="Empty: any day."
    )
    status = models.CharField(max_length=10, choices=WaitlistStatus, default=WaitlistStatus.WAITING)
    added_at = models.DateTimeField()
    added_by = models.CharField(max_length=150)

    objects = WaitlistQuerySet.as_manager()

    class Meta:
        verbose_name = "waitlist entry"
        verbose_name_plural = "waitlist"
        constraints = [
            models.UniqueConstraint(
                fields=["episode", "visit"],
                condition=Q(status=WaitlistStatus.WAITING),
                name="one_place_on_the_waitlist_per_visit",
            ),
            models.CheckConstraint(condition=Q(visit__in=WAITED_FOR), name="nobody_waits_for_an_mri_here"),
            models.CheckConstraint(
                condition=Q(earliest__isnull=True) | Q(latest__isnull=True) | Q(earliest__lte=F("latest")),
                name="the_last_day_is_not_before_the_first",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_visit_display()} of {self.episode.patient}"


class FreedTime(models.Model):
    """Time that was given back and may be offered. It is known by the reservation that was released: the patient's for
    the first step of a visit, or a closure's; each is released once."""

    SITE_PATH = "site"

    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="+")
    reservation = models.OneToOneField(Reservation, on_delete=models.PROTECT, related_name="+")
    during = DateTimeRangeField(help_text="The whole visit that was given up, or the whole closure.")
    noticed_at = models.DateTimeField()

    objects = SiteQuerySet.as_manager()

    def __str__(self) -> str:
        return "Time that became free"


class WaitlistOffer(models.Model):
    """What became of one patient's turn at one freed time: offered and answered, or passed over and why. While it is
    open the time is kept by `held`, and no longer than `until`."""

    SITE_PATH = "entry__episode__patient__site"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    freed = models.ForeignKey(FreedTime, on_delete=models.PROTECT, related_name="offers")
    entry = models.ForeignKey(WaitlistEntry, on_delete=models.PROTECT, related_name="offers")
    status = models.CharField(max_length=10, choices=OfferStatus, default=OfferStatus.OPEN)
    made_at = models.DateTimeField()
    during = DateTimeRangeField(null=True, blank=True, help_text="What was offered; empty if passed over.")
    option = models.JSONField(null=True, blank=True, editable=False, help_text="With which rooms and people.")
    held = models.OneToOneField(Appointment, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    until = models.DateTimeField(null=True, blank=True, help_text="When the offer ends by itself.")
    ended_at = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(blank=True, help_text="Why the patient was passed over, or how it ended.")

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["freed", "entry"], name="one_turn_per_patient_and_freed_time"),
            models.UniqueConstraint(
                fields=["freed"], condition=Q(status=OfferStatus.OPEN), name="one_open_offer_per_freed_time"
            ),
            models.UniqueConstraint(
                fields=["entry"], condition=Q(status=OfferStatus.OPEN), name="one_open_offer_per_patient"
            ),
            models.CheckConstraint(
                condition=Q(status=OfferStatus.PASSED)
                | Q(during__isnull=False, option__isnull=False, held__isnull=False, until__isnull=False),
                name="an_offer_says_what_and_until_when",
            ),
            models.CheckConstraint(
                condition=Q(status=OfferStatus.OPEN, ended_at__isnull=True)
                | (~Q(status=OfferStatus.OPEN) & Q(ended_at__isnull=False)),
                name="an_offer_that_is_over_says_when",
            ),
        ]

    def __str__(self) -> str:
        return f"Offer to {self.entry.episode.patient}"
