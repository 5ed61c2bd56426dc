"""What things look like on the wire: instants with an offset, days that exist, periods with two ends, and rows of the
caller's own sites. A shape is checked here; whether a step may be taken is the step's business."""

from datetime import date, datetime
from typing import Any

from django import forms
from django.contrib.postgres.fields import DateTimeRangeField
from django.core.exceptions import ValidationError as BadValue
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.utils.dateparse import parse_datetime
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from clinic.api.callers import seen_by
from clinic.models import Message, OptOut, Patient, Site

# Beyond these, adding a follow-up plan or a time zone leaves the calendar.
FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2199, 12, 31)
NEEDS_OFFSET = "Say which time zone: 2026-05-11T14:00:00Z or 2026-05-11T09:00:00-05:00."
LARGEST_ID = 2**63 - 1


class Day(serializers.DateField):
    def to_internal_value(self, value: Any) -> date:
        day = super().to_internal_value(value)
        if not FIRST_DAY <= day <= LAST_DAY:
            raise serializers.ValidationError(f"Choose a day from {FIRST_DAY:%Y} to {LAST_DAY:%Y}.")
        return day


class Instant(serializers.DateTimeField):
    """An ISO 8601 instant. Without an offset it is refused: nobody can know what it means."""

    def enforce_timezone(self, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise serializers.ValidationError(NEEDS_OFFSET)
        if not FIRST_DAY <= value.date() <= LAST_DAY:
            raise serializers.ValidationError(f"Choose a time from {FIRST_DAY:%Y} to {LAST_DAY:%Y}.")
        return super().enforce_timezone(value)


@extend_schema_serializer(component_name="Period")
class _TwoEnds(serializers.Serializer):
    start = Instant()
    end = Instant(help_text="Not part of the period: the next one may start here.")


@extend_schema_field(_TwoEnds)
class Period(serializers.Field):
    """A half-open range of time as {"start", "end"} (FHIR Period)."""

    def to_representation(self, value: DateTimeTZRange) -> dict[str, str | None]:
        return _TwoEnds({"start": value.lower, "end": value.upper}).data

    def to_internal_value(self, data: Any) -> DateTimeTZRange:
        ends = _TwoEnds(data=data)
        ends.is_valid(raise_exception=True)
        start, end = ends.validated_data["start"], ends.validated_data["end"]
        if start >= end:
            raise serializers.ValidationError("The end must be after the start.")
        return DateTimeTZRange(start, end)


class OwnRow(serializers.PrimaryKeyRelatedField):
    """A reference to a row of the caller's own sites; anything else is as unknown as what never was."""

    def __init__(self, **given: Any) -> None:
        # In the browsable page a box to type into: a list to choose from would read every row.
        given.setdefault("style", {"base_template": "input.html"})
        super().__init__(**given)

    def get_queryset(self) -> models.QuerySet:
        return seen_by(self.context["request"], super().get_queryset())


class OwnSite(serializers.SlugRelatedField):
    """A site by its code."""

    def __init__(self, **given: Any) -> None:
        super().__init__(slug_field="code", queryset=Site.objects.order_by("code"), **given)

    def get_queryset(self) -> models.QuerySet:
        return seen_by(self.context["request"], super().get_queryset())


class Shape(serializers.ModelSerializer):
    """A model's fields with our own days, instants and periods."""

    serializer_field_mapping = serializers.ModelSerializer.serializer_field_mapping | {
        models.DateField: Day,
        models.DateTimeField: Instant,
        DateTimeRangeField: Period,
    }
    serializer_related_field = OwnRow


class Reason(serializers.Serializer):
    reason = serializers.CharField(max_length=500, help_text="Kept in the trail of changes.")


# Filters


class InstantForm(forms.CharField):
    def clean(self, value: Any) -> datetime | None:
        text = super().clean(value)
        try:
            instant = parse_datetime(text.replace(" ", "+")) if text else None
        except ValueError as wrong:
            raise BadValue("There is no such time.") from wrong
        if text and (instant is None or instant.tzinfo is None):
            raise BadValue(NEEDS_OFFSET)
        if instant and not FIRST_DAY <= instant.date() <= LAST_DAY:
            raise BadValue(f"Choose a time from {FIRST_DAY:%Y} to {LAST_DAY:%Y}.")
        return instant


@extend_schema_field(serializers.DateTimeField)
class InstantFilter(filters.Filter):
    field_class = InstantForm


class DayFilter(filters.DateFilter):
    def __init__(self, *args: Any, **given: Any) -> None:
        near = [MinValueValidator(FIRST_DAY), MaxValueValidator(LAST_DAY)]
        super().__init__(*args, validators=near, **given)


@extend_schema_field(serializers.IntegerField)
class IdFilter(filters.Filter):
    """A whole number: the stock number filter takes 1e99999999 and thinks about it for a long time."""

    field_class = forms.IntegerField

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, min_value=0, max_value=LARGEST_ID, **given)


# Sites, patients, messages


class SiteSerializer(Shape):
    class Meta:
        model = Site
        fields = ["code", "name", "time_zone", "phone", "address"]


class OptOutSerializer(Shape):
    class Meta:
        model = OptOut
        fields = ["channel", "category", "since"]


class PatientSerializer(Shape):
    site = serializers.SlugRelatedField(slug_field="code", read_only=True)
    opted_out = OptOutSerializer(source="optouts", many=True, read_only=True)

    class Meta:
        model = Patient
        fields = [
            "id",
            "site",
            "mrn_system",
            "mrn",
            "family_name",
            "given_name",
            "birth_date",
            "sex",
            "email",
            "phone",
            "language",
            "deceased",
            "deceased_on",
            "opted_out",
            "registered_at",
        ]


class PatientGiven(Shape):
    """What can be said of a patient."""

    class Meta:
        model = Patient
        fields = ["mrn_system", "mrn", "family_name", "given_name", "birth_date", "sex", "email", "phone", "language"]
        validators = ()  # that an identifier is taken is for the step to say


class PatientRegistered(PatientGiven):
    site = OwnSite(required=False, help_text="May be left out by who works at one site only.")

    class Meta(PatientGiven.Meta):
        fields = ["site", *PatientGiven.Meta.fields]

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if "site" not in given:
            mine = list(seen_by(self.context["request"], Site.objects.order_by("code"))[:2])
            if len(mine) != 1:
                raise serializers.ValidationError({"site": "Say which site: you work at several."})
            given["site"] = mine[0]
        return given


class Death(serializers.Serializer):
    on = Day(allow_null=True, required=False, default=None, help_text="Left out if not known.")


class MessageSerializer(Shape):
    class Meta:
        model = Message
        fields = [
            "id",
            "patient",
            "kind",
            "occasion",
            "version",
            "channel",
            "status",
            "reason",
            "due_at",
            "not_after",
            "sent_at",
        ]
