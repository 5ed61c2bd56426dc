"""Step 4: the cells. What a product is, its lots and units (allogeneic), or the patient's own harvest (autologous)."""

import uuid

from django.db import models

from clinic.models import Site
from clinic.models.scoping import SiteQuerySet
from scheduling.states import HarvestStatus, LotStatus, UnitStatus


class CellSource(models.TextChoices):
    SAME_SESSION = "same_session", "Autologous, same session"
    EXPANDED = "expanded", "Autologous, culture-expanded"
    ALLOGENEIC = "allogeneic"


class RegulatoryBasis(models.TextChoices):
    IND = "ind", "Investigational (IND)"
    APPROVED = "approved"
    HOSPITAL_EXEMPTION = "hospital_exemption", "Hospital exemption"
    HCTP_361 = "hctp_361", "361 HCT/P claimed"
    NONE = "none", "None: cannot be booked"


class Product(models.Model):
    """What is injected. Limits that have no sourced default stay empty until the clinic enters them."""

    code = models.SlugField(unique=True)
    name = models.CharField(max_length=120)
    source = models.CharField(max_length=15, choices=CellSource)
    regulatory_basis = models.CharField(max_length=20, choices=RegulatoryBasis, default=RegulatoryBasis.NONE)
    regulatory_reference = models.CharField(max_length=200, blank=True)
    regulatory_expires_on = models.DateField(null=True, blank=True)
    regulatory_note = models.TextField(blank=True, help_text="Shown wherever this product is chosen.")
    thaw_minutes = models.PositiveSmallIntegerField(null=True, blank=True)
    post_thaw_limit_minutes = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="From thaw start to injection start. No default: without it nothing is booked."
    )
    expiry_margin_minutes = models.PositiveIntegerField(default=0)
    lead_days = models.PositiveSmallIntegerField(default=0, help_text="Days from order to arrival.")
    transport_celsius_min = models.DecimalField(
        "coldest in transport (°C)", max_digits=5, decimal_places=1, null=True, blank=True
    )
    transport_celsius_max = models.DecimalField(
        "warmest in transport (°C)",
        max_digits=5,
        decimal_places=1,
        null=True,
        blank=True,
        help_text="No default: without a limit no delivery passes its receipt check.",
    )

    def __str__(self) -> str:
        return self.name


class Lot(models.Model):
    SITE_PATH = "site"

    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="+")
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="lots")
    number = models.CharField(max_length=60)
    expires_at = models.DateTimeField()
    dose_million = models.DecimalField(
        "cells in each unit (million)", max_digits=8, decimal_places=2, null=True, blank=True
    )
    status = models.CharField(max_length=12, choices=LotStatus, default=LotStatus.QUARANTINED)

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["site", "product", "number"], name="one_lot_per_number")]

    def __str__(self) -> str:
        return f"{self.product} lot {self.number}"


class Shipper(models.TextChoices):
    INTACT = "intact", "Shipper intact"
    DAMAGED = "damaged", "Shipper damaged or opened"


class ReceiptCheck(models.Model):
    """What was found when a delivery of the lot was looked at. The latest one says whether the lot may be released."""

    SITE_PATH = "lot__site"

    lot = models.ForeignKey(Lot, on_delete=models.CASCADE, related_name="receipt_checks")
    checked_at = models.DateTimeField()
    checked_by = models.CharField(max_length=150)
    celsius = models.DecimalField("temperature (°C)", max_digits=5, decimal_places=1)
    shipper = models.CharField(max_length=10, choices=Shipper)
    units_announced = models.PositiveSmallIntegerField()
    units_counted = models.PositiveSmallIntegerField()
    findings = models.CharField(max_length=300, blank=True, help_text="What was wrong; empty: the delivery passed.")

    objects = SiteQuerySet.as_manager()

    def __str__(self) -> str:
        return f"Receipt check of {self.lot}"

    @property
    def passed(self) -> bool:
        return not self.findings


class Unit(models.Model):
    """One vial. At most one live appointment owns it (FHIR BiologicallyDerivedProduct)."""

    SITE_PATH = "lot__site"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    lot = models.ForeignKey(Lot, on_delete=models.PROTECT, related_name="units")
    identifier = models.CharField(max_length=60, unique=True, help_text="Donation or unit identifier (ISBT 128).")
    received_at = models.DateTimeField()
    shipper_hold_until = models.DateTimeField(
        null=True, blank=True, help_text="Until when its dry shipper holds it, if it is still in one."
    )
    storage = models.CharField(max_length=120, blank=True)
    status = models.CharField(max_length=10, choices=UnitStatus, default=UnitStatus.RECEIVED)
    appointment = models.ForeignKey(
        "scheduling.Appointment", on_delete=models.PROTECT, null=True, blank=True, related_name="units"
    )
    chosen_because = models.CharField(
        max_length=200, blank=True, help_text="Why it was chosen by hand, against first-expiry-first-out."
    )
    thaw_started_at = models.DateTimeField(null=True, blank=True)
    matched_by = models.CharField(max_length=310, blank=True, help_text="The two people who matched it before thaw.")
    discard_reason = models.CharField(max_length=200, blank=True)

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(status=UnitStatus.RECEIVED, appointment__isnull=True)
                | models.Q(
                    status__in=[UnitStatus.ALLOCATED, UnitStatus.THAWED, UnitStatus.USED], appointment__isnull=False
                )
                | models.Q(status=UnitStatus.DISCARDED),
                name="a_unit_in_use_has_its_appointment",
            ),
            models.CheckConstraint(
                condition=~models.Q(status__in=[UnitStatus.THAWED, UnitStatus.USED])
                | models.Q(thaw_started_at__isnull=False),
                name="a_thawed_unit_says_when",
            ),
            models.CheckConstraint(
                condition=~models.Q(status=UnitStatus.DISCARDED) | ~models.Q(discard_reason=""),
                name="a_discarded_unit_says_why",
            ),
        ]
        permissions = [("choose_unit", "Can choose another unit than the first to expire")]

    def __str__(self) -> str:
        return self.identifier


class Tissue(models.TextChoices):
    BONE_MARROW = "bone_marrow"
    ADIPOSE = "adipose"


class Harvest(models.Model):
    """The patient's own cells, and the kit that carries their identity until they are injected (FHIR Specimen)."""

    SITE_PATH = "appointment__site"
    PERSONAL = ("kit", "notes")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    appointment = models.OneToOneField("scheduling.Appointment", on_delete=models.PROTECT, related_name="harvest")
    tissue = models.CharField(max_length=15, choices=Tissue)
    kit = models.CharField("kit id", max_length=60, unique=True)
    volume_ml = models.DecimalField("volume (mL)", max_digits=6, decimal_places=1)
    harvested_at = models.DateTimeField()
    harvested_by = models.CharField(max_length=150)
    status = models.CharField(max_length=10, choices=HarvestStatus, default=HarvestStatus.COLLECTED)
    cells_million = models.DecimalField("cells (million)", max_digits=8, decimal_places=2, null=True, blank=True)
    viability_pct = models.DecimalField("viability (%)", max_digits=4, decimal_places=1, null=True, blank=True)
    notes = models.TextField(blank=True)

    objects = SiteQuerySet.as_manager()

    def __str__(self) -> str:
        return f"Kit {self.kit}"
