"""Getting better over the API: what is due and when, what was answered, what worries somebody."""

from typing import Any

from django.utils.timezone import now
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.response import Response as Answer
from rest_framework.routers import SimpleRouter

from clinic.api.shapes import Day, DayFilter, Reason, Shape
from clinic.api.views import Browsable, Listed, step
from followup import alerts, surveys
from followup.api import care
from followup.models import Alert, FollowUpEvent, Instrument, Response
from followup.models import Answer as Given
from followup.models.alert import AlertKind
from followup.models.event import EventKind
from followup.models.survey import ANSWER_MODES, Mode
from followup.states import AlertStatus, EventStatus, ResponseStatus


@extend_schema_field({"type": "string", "example": "vas-back|1"})
class InstrumentName(serializers.Field):
    """An instrument as code|version (FHIR canonical)."""

    def to_representation(self, instrument: Instrument) -> str:
        return f"{instrument.code}|{instrument.version}"


class FollowUpEventSerializer(Shape):
    patient = serializers.PrimaryKeyRelatedField(source="episode.patient_id", read_only=True)
    due_on = Day(
        read_only=True, allow_null=True, help_text="Derived from the injection; kept once the event is closed."
    )
    optimal_opens_on = Day(read_only=True, allow_null=True)
    optimal_closes_on = Day(read_only=True, allow_null=True)
    opens_on = Day(read_only=True, allow_null=True)
    closes_on = Day(read_only=True, allow_null=True)
    scan_on = Day(read_only=True, allow_null=True, help_text="The day of the booked visit that is still ahead.")
    needs_rebooking = serializers.BooleanField(
        read_only=True, help_text="The booked day no longer counts, because the injection has moved."
    )

    class Meta:
        model = FollowUpEvent
        fields = [
            "id",
            "episode",
            "patient",
            "code",
            "name",
            "kind",
            "status",
            "offset",
            "unit",
            "due_on",
            "optimal_opens_on",
            "optimal_closes_on",
            "opens_on",
            "closes_on",
            "instruments",
            "appointment",
            "scan_on",
            "needs_rebooking",
            "mri",
            "closed_at",
        ]


class FollowUpEventFilter(filters.FilterSet):
    episode = filters.UUIDFilter(field_name="episode_id")
    patient = filters.UUIDFilter(field_name="episode__patient_id")
    kind = filters.ChoiceFilter(choices=EventKind.choices)
    status = filters.ChoiceFilter(choices=EventStatus.choices)
    due_from = DayFilter(field_name="due_on", lookup_expr="gte")
    due_until = DayFilter(field_name="due_on", lookup_expr="lte")
    needs_rebooking = filters.BooleanFilter()


class FollowUpEvents(Browsable):
    """What is due after the injection. Dates are derived from the episode's anchor each time they are asked for."""

    queryset = FollowUpEvent.objects.with_dates().select_related("episode").order_by("due_on", "code", "pk")
    serializer_class = FollowUpEventSerializer
    filterset_class = FollowUpEventFilter

    def get_queryset(self) -> Any:
        return super().get_queryset().with_scan(now())


class ResponseSerializer(Shape):
    patient = serializers.PrimaryKeyRelatedField(source="event.episode.patient_id", read_only=True)
    instrument = InstrumentName()

    class Meta:
        model = Response
        fields = [
            "id",
            "event",
            "patient",
            "instrument",
            "status",
            "mode",
            "recorded_by",
            "answers",
            "started_at",
            "last_answer_at",
            "completed_at",
            "raw",
            "answered",
            "score",
            "score_status",
            "scored",
        ]


class ResponseFilter(filters.FilterSet):
    event = filters.UUIDFilter(field_name="event_id")
    episode = filters.UUIDFilter(field_name="event__episode_id")
    patient = filters.UUIDFilter(field_name="event__episode__patient_id")
    instrument = filters.CharFilter(field_name="instrument_code")
    status = filters.ChoiceFilter(choices=ResponseStatus.choices)
    mode = filters.ChoiceFilter(choices=Mode.choices)


@extend_schema_field(
    {"oneOf": [{"type": "integer"}, {"type": "boolean"}, {"type": "array", "items": {"type": "integer"}}]}
)
class AnswerValue(serializers.JSONField):
    """A number, yes or no, or the several marks of one item on paper. Which of them fits, the question says."""

    def to_internal_value(self, data: Any) -> Any:
        marks = data if isinstance(data, list) else [data]
        if not all(isinstance(mark, int) for mark in marks):
            raise serializers.ValidationError("An answer is a whole number, true or false, or a list of numbers.")
        return data


class Amendment(Reason):
    answers = serializers.DictField(
        child=AnswerValue(allow_null=True),
        allow_empty=False,
        help_text="linkId -> value, for what is corrected only; null if it should not have been answered.",
    )


class Responses(Browsable):
    """What patients answered, and what it adds up to (FHIR QuestionnaireResponse)."""

    queryset = Response.objects.select_related("instrument", "event__episode").order_by("started_at", "pk")
    serializer_class = ResponseSerializer
    bodies = {"amend": Amendment}
    people_only = ("amend",)
    filterset_class = ResponseFilter

    @step(ResponseSerializer, body=True)
    def amend(self, request: Any, pk: str) -> Answer:
        """Correct a finished response, with a reason. What was answered before is kept (see answers)."""
        return self.show(surveys.amend(self.get_object(), **self.given(), **self.signature()))


class GivenSerializer(Shape):
    patient = serializers.PrimaryKeyRelatedField(source="response.event.episode.patient_id", read_only=True)

    class Meta:
        model = Given
        fields = [
            "id",
            "response",
            "patient",
            "link_id",
            "value",
            "absent",
            "mode",
            "by",
            "at",
            "input_mode",
            "reason",
        ]


class GivenFilter(filters.FilterSet):
    response = filters.UUIDFilter(field_name="response_id")
    event = filters.UUIDFilter(field_name="response__event_id")
    patient = filters.UUIDFilter(field_name="response__event__episode__patient_id")
    mode = filters.ChoiceFilter(choices=ANSWER_MODES)


class Answers(Browsable):
    """Every answer as it was given, in order: by whom, how, when; a correction with its reason. Never edited."""

    queryset = Given.objects.select_related("response__event__episode").order_by("pk")
    serializer_class = GivenSerializer
    filterset_class = GivenFilter


class InstrumentSerializer(Shape):
    class Meta:
        model = Instrument
        fields = ["code", "version", "language", "recall", "title", "scoring", "placeholder", "active"]


class InstrumentFilter(filters.FilterSet):
    code = filters.CharFilter()
    language = filters.CharFilter()
    active = filters.BooleanFilter()


class Instruments(Listed):
    """The questionnaires that are loaded. Their wording may be licensed, so it is not given out here."""

    queryset = Instrument.objects.order_by("code", "language", "version")
    serializer_class = InstrumentSerializer
    filterset_class = InstrumentFilter


class AlertSerializer(Shape):
    patient = serializers.PrimaryKeyRelatedField(source="event.episode.patient_id", read_only=True)

    class Meta:
        model = Alert
        fields = [
            "id",
            "event",
            "patient",
            "kind",
            "detail",
            "status",
            "raised_at",
            "acknowledged_at",
            "acknowledged_by",
        ]


class AlertFilter(filters.FilterSet):
    event = filters.UUIDFilter(field_name="event_id")
    patient = filters.UUIDFilter(field_name="event__episode__patient_id")
    kind = filters.ChoiceFilter(choices=AlertKind.choices)
    status = filters.ChoiceFilter(choices=AlertStatus.choices)


class Alerts(Browsable):
    """Worrying answers, until a person has dealt with them (FHIR Flag)."""

    queryset = Alert.objects.select_related("event__episode").order_by("raised_at", "pk")
    serializer_class = AlertSerializer
    bodies = {"close": Reason}
    people_only = ("acknowledge", "close")
    filterset_class = AlertFilter

    @step(AlertSerializer)
    def acknowledge(self, request: Any, pk: str) -> Answer:
        """Somebody has seen it and is dealing with it."""
        return self.show(alerts.acknowledge(self.get_object(), **self.signature()))

    @step(AlertSerializer, body=True)
    def close(self, request: Any, pk: str) -> Answer:
        """It has been dealt with, after somebody acknowledged it; say how."""
        return self.show(alerts.close(self.get_object(), **self.given(), **self.signature()))


router = SimpleRouter()
router.register("follow-up-events", FollowUpEvents)
router.register("responses", Responses)
router.register("answers", Answers)
router.register("instruments", Instruments)
router.register("alerts", Alerts)
router.registry.extend(care.router.registry)
