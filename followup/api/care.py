"""Adverse events and follow-up MRI over the API."""

from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.response import Response as Answer
from rest_framework.routers import SimpleRouter

from clinic.api.shapes import Day, OwnRow, Reason, Shape
from clinic.api.views import Browsable, answers, step
from followup import adverse, imaging, orders
from followup.models import AdverseEvent, Alert, FollowUpEvent, MriOrder
from followup.models.adverse import Criterion
from followup.models.imaging import Sequence
from followup.states import AdverseEventStatus, EventStatus
from scheduling import grades
from scheduling.models import Episode, MriStudy, Resource
from scheduling.models.mri import Level, Scale


class AdverseEventSerializer(Shape):
    patient = serializers.PrimaryKeyRelatedField(source="episode.patient_id", read_only=True)
    seriousness = serializers.ListField(child=serializers.ChoiceField(choices=Criterion.choices))
    serious = serializers.BooleanField(read_only=True)

    class Meta:
        model = AdverseEvent
        fields = [
            "id",
            "episode",
            "patient",
            "alert",
            *adverse.ASSESSED,
            "serious",
            "status",
            "recorded_by",
            "recorded_at",
        ]


class AdverseEventAssessed(Shape):
    """What is known of an event. Left out: not assessed, or not known."""

    seriousness = serializers.ListField(
        child=serializers.ChoiceField(choices=Criterion.choices), required=False, help_text="Empty: not serious."
    )

    class Meta:
        model = AdverseEvent
        fields = list(adverse.ASSESSED)


class AdverseEventRecorded(AdverseEventAssessed):
    episode = OwnRow(queryset=Episode.objects.all())
    alert = OwnRow(queryset=Alert.objects.select_related("event"), required=False, allow_null=True)

    class Meta(AdverseEventAssessed.Meta):
        fields = ["episode", "alert", *adverse.ASSESSED]


class AdverseEventCorrected(AdverseEventAssessed):
    reason = serializers.CharField(max_length=500, help_text="Kept in the trail, with what was said before.")

    class Meta(AdverseEventAssessed.Meta):
        fields = [*adverse.ASSESSED, "reason"]
        extra_kwargs = {name: {"required": False} for name in adverse.ASSESSED}  # what is left out stays as it is


class AdverseEventFilter(filters.FilterSet):
    episode = filters.UUIDFilter(field_name="episode_id")
    patient = filters.UUIDFilter(field_name="episode__patient_id")
    status = filters.ChoiceFilter(choices=AdverseEventStatus.choices)
    serious = filters.BooleanFilter(method="of_seriousness")

    def of_seriousness(self, rows: QuerySet[AdverseEvent], _name: str, serious: bool) -> QuerySet[AdverseEvent]:
        return rows.filter(seriousness__len__gt=0) if serious else rows.filter(seriousness__len=0)


class AdverseEvents(Browsable):
    """What went wrong for whom, how badly, and whether it is over (FHIR AdverseEvent). People assess it."""

    queryset = AdverseEvent.objects.select_related("episode").order_by("onset_on", "recorded_at", "pk")
    serializer_class = AdverseEventSerializer
    bodies = {
        "create": AdverseEventRecorded,
        "correct": AdverseEventCorrected,
        "close": Reason,
        "reopen": Reason,
        "withdraw": Reason,
    }
    people_only = ("create", "correct", "follow", "close", "reopen", "withdraw")
    filterset_class = AdverseEventFilter

    @answers(AdverseEventSerializer, status=201)
    def create(self, request: Any) -> Answer:
        """Record an adverse event."""
        body = self.given()
        return self.show(adverse.record(body.pop("episode"), **body, **self.signature()), status=201)

    @step(AdverseEventSerializer, body=True)
    def correct(self, request: Any, pk: str) -> Answer:
        """Correct or complete what was recorded, with a reason: what was said before stays in the trail."""
        return self.show(adverse.correct(self.get_object(), **self.given(), **self.signature()))

    @step(AdverseEventSerializer)
    def follow(self, request: Any, pk: str) -> Answer:
        """Somebody looks after it from now on."""
        return self.show(adverse.follow(self.get_object(), **self.signature()))

    @step(AdverseEventSerializer, body=True)
    def close(self, request: Any, pk: str) -> Answer:
        """It is over, or not followed any longer; say how."""
        return self.show(adverse.close(self.get_object(), **self.given(), **self.signature()))

    @step(AdverseEventSerializer, body=True)
    def reopen(self, request: Any, pk: str) -> Answer:
        """It is followed again."""
        return self.show(adverse.reopen(self.get_object(), **self.given(), **self.signature()))

    @step(AdverseEventSerializer, body=True)
    def withdraw(self, request: Any, pk: str) -> Answer:
        """It was entered in error."""
        return self.show(adverse.withdraw(self.get_object(), **self.given(), **self.signature()))


class MriOrderSerializer(Shape):
    sequences = serializers.ListField(child=serializers.ChoiceField(choices=Sequence.choices))

    class Meta:
        model = MriOrder
        fields = ["id", "sequences", "status", "ordered_by", "ordered_at"]


class DiscChangeSerializer(serializers.Serializer):
    """One disc at baseline and now. `change` is positive when the grade is better, and null when the two readings do
    not compare: then the reason says why."""

    level = serializers.ChoiceField(choices=Level.choices)
    treated = serializers.BooleanField()
    baseline_scale = serializers.ChoiceField(choices=Scale.choices, allow_null=True)
    baseline_grade = serializers.IntegerField(allow_null=True)
    scale = serializers.ChoiceField(choices=Scale.choices, allow_null=True)
    grade = serializers.IntegerField(allow_null=True)
    change = serializers.IntegerField(allow_null=True)
    not_comparable_because = serializers.CharField(allow_blank=True)


class FollowUpMriSerializer(Shape):
    patient = serializers.PrimaryKeyRelatedField(source="episode.patient_id", read_only=True)
    due_on = Day(read_only=True, allow_null=True)
    opens_on = Day(read_only=True, allow_null=True)
    closes_on = Day(read_only=True, allow_null=True)
    orders = MriOrderSerializer(many=True, read_only=True)
    scanner_warning = serializers.SerializerMethodField(help_text="Empty if it is the scanner of the baseline.")
    discs = serializers.SerializerMethodField()

    class Meta:
        model = FollowUpEvent
        fields = [
            "id",
            "episode",
            "patient",
            "code",
            "name",
            "status",
            "due_on",
            "opens_on",
            "closes_on",
            "orders",
            "appointment",
            "mri",
            "scanner_warning",
            "discs",
        ]

    def get_scanner_warning(self, event: FollowUpEvent) -> str:
        return imaging.scanner_warning(event)

    @extend_schema_field(DiscChangeSerializer(many=True))
    def get_discs(self, event: FollowUpEvent) -> list[dict[str, Any]]:
        treated = set(event.episode.target_levels)
        return [told(change, treated=change.level in treated) for change in imaging.changes(event)]


def told(change: grades.Change, *, treated: bool) -> dict[str, Any]:
    return {
        "level": change.level,
        "treated": treated,
        "baseline_scale": change.before and change.before.scale,
        "baseline_grade": change.before and change.before.grade,
        "scale": change.after and change.after.scale,
        "grade": change.after and change.after.grade,
        "change": change.steps,
        "not_comparable_because": change.why_not,
    }


class MriOrdered(serializers.Serializer):
    sequences = serializers.ListField(
        child=serializers.ChoiceField(choices=Sequence.choices), required=False, help_text="Left out: as at baseline."
    )


class MriReceived(Shape):
    acquired_on = Day()
    identifier = serializers.CharField(max_length=100, required=False)
    device = OwnRow(queryset=Resource.objects.all(), required=False, help_text="Left out: the scanner that was booked.")

    class Meta:
        model = MriStudy
        fields = ["acquired_on", "identifier", "device", "scanner", "field_strength_tesla", "sequence", "report"]


class FollowUpMriFilter(filters.FilterSet):
    episode = filters.UUIDFilter(field_name="episode_id")
    patient = filters.UUIDFilter(field_name="episode__patient_id")
    status = filters.ChoiceFilter(choices=EventStatus.choices)


class FollowUpMris(Browsable):
    """The MRIs of a follow-up: ordered, booked, received (FHIR ServiceRequest and ImagingStudy), and what became of
    each disc since the baseline. Reading is a step of the study."""

    queryset = imaging.scans()
    serializer_class = FollowUpMriSerializer
    bodies = {"order": MriOrdered, "cancel_order": Reason, "receive": MriReceived}
    needs = {
        "order": "followup.add_mriorder",
        "cancel_order": "followup.change_mriorder",
        "receive": "scheduling.add_mristudy",
    }
    filterset_class = FollowUpMriFilter

    @step(FollowUpMriSerializer, body=True)
    def order(self, request: Any, pk: str) -> Answer:
        """Order this MRI."""
        event = self.get_object()
        orders.place(event, **self.given(), **self.signature())
        return self.show(event)

    @step(FollowUpMriSerializer, body=True, url_path="cancel-order")
    def cancel_order(self, request: Any, pk: str) -> Answer:
        """Take the order back, with a reason."""
        event = self.get_object()
        orders.cancel(orders.wanted(event), **self.given(), **self.signature())
        return self.show(event)

    @step(FollowUpMriSerializer, body=True)
    def receive(self, request: Any, pk: str) -> Answer:
        """The study has come: the MRI is done."""
        event = self.get_object()
        imaging.receive(event, **self.given(), **self.signature())
        return self.show(event)


router = SimpleRouter()
router.register("adverse-events", AdverseEvents)
router.register("follow-up-mris", FollowUpMris, basename="follow-up-mri")
