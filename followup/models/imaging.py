"""Step 7: the wish for a follow-up MRI (FHIR ServiceRequest)."""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models

from clinic.models.scoping import SiteQuerySet
from followup.models.event import FollowUpEvent
from followup.states import ORDER_LIVE, OrderStatus


class Sequence(models.TextChoices):
    """What the baseline is made of, so that a follow-up can be made in the same way (clinical facts, App. A)."""

    SAGITTAL_T2 = "sagittal-t2", "Sagittal T2"
    SAGITTAL_T1 = "sagittal-t1", "Sagittal T1"
    T2_MAP = "t2-map", "T2 map"


STANDARD = (Sequence.SAGITTAL_T2, Sequence.SAGITTAL_T1)


def standard() -> list[str]:
    return [sequence.value for sequence in STANDARD]


class MriOrder(models.Model):
    """Who asked for the MRI of one follow-up, when, and in which sequences."""

    SITE_PATH = "event__episode__patient__site"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    event = models.ForeignKey(FollowUpEvent, on_delete=models.PROTECT, related_name="orders")
    sequences = ArrayField(models.CharField(max_length=20, choices=Sequence), default=standard)
    status = models.CharField(max_length=10, choices=OrderStatus, default=OrderStatus.ORDERED)
    ordered_by = models.CharField(max_length=150)
    ordered_at = models.DateTimeField()

    objects = SiteQuerySet.as_manager()

    class Meta:
        verbose_name = "MRI order"
        verbose_name_plural = "MRI orders"
        constraints = [
            models.UniqueConstraint(
                fields=["event"], condition=models.Q(status__in=sorted(ORDER_LIVE)), name="one_live_order_per_mri"
            ),
            models.CheckConstraint(condition=models.Q(sequences__len__gt=0), name="an_order_names_its_sequences"),
        ]

    def __str__(self) -> str:
        return f"Order of {self.event}"

    @property
    def said(self) -> str:
        """The sequences in words."""
        return ", ".join(str(Sequence(one).label) for one in self.sequences)
