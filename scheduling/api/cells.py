"""Cells from a donor over the API: lots and units, and what becomes of each."""

from typing import Any

from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter

from clinic.api.callers import seen_by
from clinic.api.shapes import IdFilter, Instant, OwnRow, OwnSite, Reason, Shape
from clinic.api.views import Browsable, answers, step
from clinic.models import Site
from scheduling import cells, preparation
from scheduling.models import Appointment, Lot, Product, ReceiptCheck, Unit
from scheduling.models.product import CellSource
from scheduling.states import LotStatus, UnitStatus


class ReceiptCheckSerializer(Shape):
    passed = serializers.BooleanField()

    class Meta:
        model = ReceiptCheck
        fields = [
            "checked_at",
            "checked_by",
            "celsius",
            "shipper",
            "units_announced",
            "units_counted",
            "passed",
            "findings",
        ]


class LotSerializer(Shape):
    site = serializers.SlugRelatedField(slug_field="code", read_only=True)
    product = serializers.SlugRelatedField(slug_field="code", read_only=True)
    receipt_checks = ReceiptCheckSerializer(many=True)

    class Meta:
        model = Lot
        fields = ["id", "site", "product", "number", "expires_at", "dose_million", "status", "receipt_checks"]


class LotReceived(Shape):
    site = OwnSite(required=False, help_text="May be left out by who works at one site only.")
    product = serializers.SlugRelatedField(
        slug_field="code", queryset=Product.objects.filter(source=CellSource.ALLOGENEIC)
    )

    class Meta:
        model = Lot
        fields = ["site", "product", "number", "expires_at", "dose_million"]
        validators = ()  # that a number is taken is for the step to say

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if "site" not in given:
            mine = list(seen_by(self.context["request"], Site.objects.order_by("code"))[:2])
            if len(mine) != 1:
                raise serializers.ValidationError({"site": "Say which site: you work at several."})
            given["site"] = mine[0]
        return given


class ReceiptChecked(Shape):
    class Meta:
        model = ReceiptCheck
        fields = ["celsius", "shipper", "units_announced", "units_counted", "checked_by"]


class UnitSerializer(Shape):
    use_by = serializers.SerializerMethodField(help_text="The last moment for the injection of a thawed unit to start.")

    class Meta:
        model = Unit
        fields = [
            "id",
            "lot",
            "identifier",
            "status",
            "received_at",
            "storage",
            "shipper_hold_until",
            "appointment",
            "chosen_because",
            "thaw_started_at",
            "use_by",
            "matched_by",
            "discard_reason",
        ]

    @extend_schema_field(Instant(allow_null=True))
    def get_use_by(self, unit: Unit) -> str | None:
        until = cells.use_by(unit)
        return until and Instant().to_representation(until)


class UnitReceived(Shape):
    lot = OwnRow(queryset=Lot.objects.select_related("site", "product"))

    class Meta:
        model = Unit
        fields = ["lot", "identifier", "storage", "shipper_hold_until"]
        extra_kwargs = {"identifier": {"validators": ()}}  # that it is taken is for the step to say


class Stored(serializers.Serializer):
    storage = serializers.CharField(max_length=120)


class Thawed(serializers.Serializer):
    matched_by = serializers.ListField(
        child=serializers.CharField(max_length=150),
        min_length=2,
        max_length=2,
        help_text="The two people who matched patient and unit.",
    )


class Chosen(Reason):
    reason = serializers.CharField(max_length=preparation.REASON_LENGTH, help_text="Kept, and listed.")
    appointment = OwnRow(queryset=Appointment.objects.all())


class Discarded(Reason):
    reason = serializers.CharField(max_length=preparation.REASON_LENGTH, help_text="Kept with the unit.")


class LotFilter(filters.FilterSet):
    product = filters.CharFilter(field_name="product__code")
    status = filters.ChoiceFilter(choices=LotStatus.choices)


class Lots(Browsable):
    """What a manufacturer delivered under one number: in quarantine until it is checked and released."""

    queryset = (
        Lot.objects.select_related("site", "product").prefetch_related("receipt_checks").order_by("expires_at", "pk")
    )
    serializer_class = LotSerializer
    bodies = {
        "create": LotReceived,
        "check_receipt": ReceiptChecked,
        "release": Reason,
        "quarantine": Reason,
        "recall": Reason,
    }
    needs = {"check_receipt": "scheduling.add_receiptcheck"}
    people_only = ("release",)
    filterset_class = LotFilter

    @answers(LotSerializer, status=201)
    def create(self, request: Any) -> Response:
        """Receive a lot. It waits in quarantine."""
        body = self.given()
        return self.show(preparation.receive_lot(body.pop("product"), **body, **self.signature()), status=201)

    @step(LotSerializer, body=True, url_path="check-receipt")
    def check_receipt(self, request: Any, pk: str) -> Response:
        """Record how a delivery came. What does not pass is in quarantine."""
        return self.show(preparation.check_receipt(self.get_object(), **self.given(), **self.signature()).lot)

    @step(LotSerializer, body=True)
    def release(self, request: Any, pk: str) -> Response:
        """Let its units be given to patients, with a reason."""
        return self.show(preparation.release_lot(self.get_object(), **self.given(), **self.signature()))

    @step(LotSerializer, body=True)
    def quarantine(self, request: Any, pk: str) -> Response:
        """Give nothing of it to anybody until it is released again. Booked days get other units where there are any."""
        return self.show(preparation.quarantine_lot(self.get_object(), **self.given(), **self.signature()))

    @step(LotSerializer, body=True)
    def recall(self, request: Any, pk: str) -> Response:
        """Give nothing of it to anybody any more. Booked days get other units where there are any."""
        return self.show(preparation.recall_lot(self.get_object(), **self.given(), **self.signature()))


class UnitFilter(filters.FilterSet):
    lot = IdFilter(field_name="lot_id")
    appointment = filters.UUIDFilter(field_name="appointment_id")
    status = filters.ChoiceFilter(choices=UnitStatus.choices)
    identifier = filters.CharFilter()
    chosen = filters.BooleanFilter(method="by_hand", label="Chosen by hand, against first-expiry-first-out.")

    def by_hand(self, rows: Any, name: str, wanted: bool) -> Any:
        return rows.exclude(chosen_because="") if wanted else rows.filter(chosen_because="")


class Units(Browsable):
    """Vials of a donor's cells, and whose they are (FHIR BiologicallyDerivedProduct)."""

    queryset = Unit.objects.select_related("lot__product", "lot__site", "appointment").order_by("received_at", "pk")
    serializer_class = UnitSerializer
    bodies = {"create": UnitReceived, "store": Stored, "thaw": Thawed, "choose": Chosen, "discard": Discarded}
    needs = {"choose": "scheduling.choose_unit"}
    people_only = ("choose",)
    filterset_class = UnitFilter

    @answers(UnitSerializer, status=201)
    def create(self, request: Any) -> Response:
        """Receive one vial of a lot."""
        body = self.given()
        return self.show(preparation.receive_unit(body.pop("lot"), **body, **self.signature()), status=201)

    @step(UnitSerializer, body=True)
    def store(self, request: Any, pk: str) -> Response:
        """Move it out of its shipper, before the shipper's hold ends."""
        return self.show(preparation.store_unit(self.get_object(), **self.given(), **self.signature()))

    @step(UnitSerializer, body=True)
    def choose(self, request: Any, pk: str) -> Response:
        """Give this unit to an appointment, against first-expiry-first-out, with a reason."""
        unit, body = self.get_object(), self.given()
        return self.show(preparation.choose_unit(body.pop("appointment"), unit=unit, **body, **self.signature()))

    @step(UnitSerializer, body=True)
    def thaw(self, request: Any, pk: str) -> Response:
        """Start the thaw. Two people have matched patient and unit."""
        return self.show(preparation.thaw(self.get_object(), **self.given(), **self.signature()))

    @step(UnitSerializer, body=True)
    def discard(self, request: Any, pk: str) -> Response:
        """The unit will never be used; say why."""
        return self.show(preparation.discard(self.get_object(), **self.given(), **self.signature()))


router = SimpleRouter()
router.register("lots", Lots)
router.register("units", Units)
