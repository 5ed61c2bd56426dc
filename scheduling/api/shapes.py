"""What referrals, evaluations, verdicts, episodes and appointments look like on the wire."""

from datetime import timedelta
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from clinic.api.refusals import Refusal
from clinic.api.shapes import LARGEST_ID, Day, Instant, OwnRow, Period, Reason, Shape
from clinic.models import Patient
from scheduling import studies
from scheduling.models import (
    Appointment,
    AppointmentStep,
    Closure,
    DiscReading,
    Episode,
    Evaluation,
    MriStudy,
    PriorTreatment,
    Protocol,
    ProtocolStep,
    Referral,
    Resource,
    StepNeed,
    Verdict,
    WaitlistEntry,
    WaitlistOffer,
)
from scheduling.models.evaluation import Outcome
from scheduling.models.mri import ReaderRole
from scheduling.models.protocol import ResourceKind, Visit
from scheduling.models.resource import Weekday
from scheduling.search import HalfDay

LONGEST_SEARCH = timedelta(days=400)
OPTION = {"max_length": 8000, "help_text": "As it came from a search for slots, within the last 15 minutes."}


@extend_schema_field({"type": "string", "example": "bone-marrow-same-session|1"})
class ProtocolName(serializers.Field):
    """A protocol as code|version (FHIR canonical). Without a version: the newest that is in use."""

    def to_representation(self, protocol: Protocol) -> str:
        return f"{protocol.code}|{protocol.version}"

    def to_internal_value(self, data: Any) -> Protocol:
        code, _, version = str(data).partition("|")
        named = Protocol.objects.filter(code=code[:50].replace("\0", ""), active=True)
        if version:
            named = named.filter(version=int(version[:9])) if version.isdecimal() else named.none()
        protocol = named.order_by("-version").first()
        if protocol is None:
            raise serializers.ValidationError("There is no such protocol in use.")
        return protocol


class StepNeedSerializer(Shape):
    class Meta:
        model = StepNeed
        fields = ["kind", "capability", "count", "role", "setup_minutes", "turnover_minutes"]


class ProtocolStepSerializer(Shape):
    needs = StepNeedSerializer(many=True)

    class Meta:
        model = ProtocolStep
        fields = ["visit", "order", "code", "minutes", "minutes_per_extra_level", "gap_min", "gap_max", "needs"]


class ProtocolSerializer(Shape):
    product = serializers.CharField(source="product.code")
    criteria = serializers.CharField(source="criteria.version")
    steps = ProtocolStepSerializer(many=True)

    class Meta:
        model = Protocol
        fields = [
            "code",
            "version",
            "name",
            "product",
            "criteria",
            "basis",
            "units_per_level",
            "dose_million",
            "max_levels",
            "expansion_days_min",
            "expansion_days_max",
            "active",
            "steps",
        ]


class ReferralSerializer(Shape):
    class Meta:
        model = Referral
        fields = ["id", "patient", "source", "reason", "received_on", "status"]


class ReferralReceived(Shape):
    class Meta:
        model = Referral
        fields = ["patient", "source", "reason", "received_on"]


class DiscSerializer(Shape):
    class Meta:
        model = DiscReading
        exclude = ["id", "study"]


class DiscGiven(Shape):
    """One disc as one reader saw it."""

    class Meta:
        model = DiscReading
        exclude = ["id", "study", "role", "read_by", "read_at", "blinded"]


class MriStudySerializer(Shape):
    discs = DiscSerializer(many=True)
    needs_consensus = serializers.SerializerMethodField(help_text="The levels in which the two readers differ.")

    class Meta:
        model = MriStudy
        fields = [
            "id",
            "patient",
            "acquired_on",
            "device",
            "scanner",
            "field_strength_tesla",
            "sequence",
            "read_by",
            "report",
            "discs",
            "needs_consensus",
        ]

    def get_needs_consensus(self, study: MriStudy) -> list[str]:
        return studies.to_agree(study)


class MriStudyRecorded(Shape):
    patient = OwnRow(queryset=Patient.objects.select_related("site"))
    acquired_on = Day()
    device = OwnRow(queryset=Resource.objects.all(), required=False, allow_null=True)
    discs = DiscGiven(many=True)

    class Meta:
        model = MriStudy
        fields = [
            "patient",
            "identifier",
            "acquired_on",
            "device",
            "scanner",
            "field_strength_tesla",
            "sequence",
            "read_by",
            "report",
            "discs",
        ]
        validators = ()  # that a number is taken is for the step to say


class StudyRead(serializers.Serializer):
    """What one reader saw, or what both agree on. The second reader is somebody else than the first."""

    role = serializers.ChoiceField(choices=ReaderRole.choices, default=ReaderRole.FIRST)
    read_by = serializers.CharField(max_length=120)
    blinded = serializers.BooleanField(
        allow_null=True, default=None, help_text="Whether the reader did not know how the patient feels."
    )
    discs = DiscGiven(many=True)


class Assigned(serializers.Serializer):
    patient = OwnRow(queryset=Patient.objects.select_related("site"))


class TreatmentSerializer(Shape):
    class Meta:
        model = PriorTreatment
        fields = ["kind", "started_on", "ended_on", "detail"]
        extra_kwargs = {"ended_on": {"help_text": "Left out: still going on."}}


class EvaluationSerializer(Shape):
    treatments = TreatmentSerializer(many=True)

    class Meta:
        model = Evaluation
        fields = "__all__"


class EvaluationRecorded(Shape):
    """What was found. Left out means not known, and the criteria then cannot decide; it never counts as a no."""

    treatments = TreatmentSerializer(many=True, required=False)

    class Meta:
        model = Evaluation
        exclude = ["evaluated_by"]


class JudgedBy(serializers.Serializer):
    protocol = ProtocolName()


class VerdictSerializer(Shape):
    protocol = ProtocolName()
    criteria = serializers.CharField(source="criteria.version")

    class Meta:
        model = Verdict
        fields = [
            "id",
            "evaluation",
            "protocol",
            "criteria",
            "computed",
            "outcome",
            "reasons",
            "status",
            "override_reason",
            "signed_by",
            "signed_at",
        ]


class Overridden(Reason):
    outcome = serializers.ChoiceField(choices=Outcome.choices)


class EpisodeSerializer(Shape):
    protocol = ProtocolName()

    class Meta:
        model = Episode
        fields = [
            "id",
            "patient",
            "verdict",
            "protocol",
            "target_levels",
            "status",
            "opened_at",
            "anchor_at",
            "injected",
        ]


class EpisodeOpened(serializers.Serializer):
    verdict = OwnRow(queryset=Verdict.objects.all(), help_text="Signed, and eligible.")


class ResourceSerializer(Shape):
    site = serializers.SlugRelatedField(slug_field="code", read_only=True)

    class Meta:
        model = Resource
        fields = ["id", "site", "kind", "name", "capabilities", "active"]


class TakenSerializer(Shape):
    class Meta:
        model = Resource
        fields = ["id", "kind", "name"]


class AppointmentStepSerializer(Shape):
    resources = serializers.SerializerMethodField()

    class Meta:
        model = AppointmentStep
        fields = ["id", "code", "during", "sequence", "resources"]

    @extend_schema_field(TakenSerializer(many=True))
    def get_resources(self, step: AppointmentStep) -> list[dict[str, Any]]:
        return TakenSerializer([taken.resource for taken in step.taken], many=True).data


class AppointmentSerializer(Shape):
    patient = serializers.PrimaryKeyRelatedField(source="episode.patient_id", read_only=True)
    steps = AppointmentStepSerializer(many=True)

    class Meta:
        model = Appointment
        fields = [
            "id",
            "episode",
            "patient",
            "visit",
            "status",
            "during",
            "held_until",
            "version",
            "revision",
            "changed_at",
            "steps",
        ]


class BookingRefused(Refusal):
    """With the code `time_taken` it says what is in the way; other refusals have only a code and a sentence."""

    resource = TakenSerializer(required=False, allow_null=True)
    during = Period(required=False, allow_null=True)
    holder = serializers.CharField(required=False, help_text="The kind of visit that has it, or a closure.")


class Wanted(serializers.Serializer):
    episode = OwnRow(queryset=Episode.objects.select_related("patient__site", "protocol__product"))
    visit = serializers.ChoiceField(choices=Visit.choices)
    option = serializers.CharField(**OPTION)


class Moved(Reason):
    option = serializers.CharField(**OPTION)


class Swapped(Reason):
    out = OwnRow(queryset=Resource.objects.all(), help_text="What the visit has now.")
    into = OwnRow(queryset=Resource.objects.all(), help_text="What takes its place, of the same kind.")


class Search(serializers.Serializer):
    """What is asked of a search for times."""

    earliest = Day(help_text="First day, in the site's local time.")
    latest = Day(required=False, allow_null=True, default=None, help_text="Last day; left out: as far as is searched.")
    limit = serializers.IntegerField(min_value=1, max_value=100, default=20)
    weekdays = serializers.ListField(
        child=serializers.IntegerField(min_value=0, max_value=6),
        required=False,
        allow_null=True,
        default=None,
        max_length=7,
        help_text="0 is Monday. Left out: any day the site is open.",
    )
    half_day = serializers.ChoiceField(
        choices=HalfDay.choices,
        required=False,
        allow_null=True,
        default=None,
        help_text="When the patient would arrive: before noon or from noon on, in the site's local time.",
    )
    people = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=LARGEST_ID),
        required=False,
        default=list,
        max_length=20,
        help_text="Ids of resources. Of each kind that is named here, nobody else is offered.",
    )

    def validate(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["latest"] and asked["latest"] < asked["earliest"]:
            raise serializers.ValidationError({"latest": "The last day is before the first."})
        if asked["latest"] and asked["latest"] - asked["earliest"] > LONGEST_SEARCH:
            raise serializers.ValidationError({"latest": f"Search at most {LONGEST_SEARCH.days} days at a time."})
        return asked


class VisitSearch(Search):
    visit = serializers.ChoiceField(choices=Visit.choices)


class OfferedStep(serializers.Serializer):
    code = serializers.CharField()
    start = Instant()
    end = Instant()
    resources = TakenSerializer(many=True)


class Offer(serializers.Serializer):
    option = serializers.CharField(help_text="Opaque. Post it back to hold, book or move.")
    start = Instant()
    end = Instant()
    reason = serializers.CharField(help_text="Why it stands at this place of the list: the best comes first.")
    steps = OfferedStep(many=True)


class Slots(serializers.Serializer):
    options = Offer(many=True)
    shortage = serializers.CharField(
        allow_null=True, help_text="Why nothing fits, and what would help. Null if it does."
    )
    blocking = serializers.ListField(
        child=serializers.CharField(), help_text="Who has the bottleneck on the first day that would work without it."
    )
    first_start = Instant(
        allow_null=True, help_text="When it would work if one more of the bottleneck were free. Null if none is alone."
    )


class ClosureSerializer(Shape):
    class Meta:
        model = Closure
        fields = ["id", "resource", "during", "reason", "closed_by", "closed_at", "reopened_at"]


class Planned(serializers.Serializer):
    appointment = OwnRow(queryset=Appointment.objects.select_related("episode"))
    option = serializers.CharField(**OPTION | {"allow_null": True, "help_text": "Where it moves to. Null: cancel it."})
    revision = serializers.IntegerField(
        required=False, help_text="Of the appointment when this was decided: refused if it has changed since."
    )


class Closed(serializers.Serializer):
    resource = OwnRow(queryset=Resource.objects.exclude(kind=ResourceKind.PATIENT))
    during = Period()
    reason = serializers.CharField(max_length=200)
    plan = Planned(many=True, required=False, default=list, help_text="What becomes of each appointment in that time.")


class PeriodAsked(serializers.Serializer):
    start = Instant()
    end = Instant()


class WaitlistOfferSerializer(Shape):
    class Meta:
        model = WaitlistOffer
        fields = ["id", "status", "during", "made_at", "until", "ended_at", "reason"]


class WaitlistEntrySerializer(Shape):
    patient = serializers.PrimaryKeyRelatedField(source="episode.patient_id", read_only=True)
    place = serializers.IntegerField(read_only=True, help_text="1 is asked first. 0: no longer on the list.")
    offers = WaitlistOfferSerializer(many=True, help_text="Every turn: offered, or passed over and why.")

    class Meta:
        model = WaitlistEntry
        fields = [
            "id",
            "episode",
            "patient",
            "visit",
            "earliest",
            "latest",
            "weekdays",
            "status",
            "place",
            "added_at",
            "added_by",
            "offers",
        ]


class WaitlistAdded(serializers.Serializer):
    """Which days would do. What is left out does not matter to the patient."""

    episode = OwnRow(queryset=Episode.objects.all(), help_text="Planned, not yet injected.")
    visit = serializers.ChoiceField(choices=Visit.choices)
    earliest = Day(required=False, allow_null=True, default=None)
    latest = Day(required=False, allow_null=True, default=None)
    weekdays = serializers.ListField(
        child=serializers.ChoiceField(choices=Weekday.choices),
        required=False,
        default=list,
        max_length=7,
        help_text="0 is Monday. Left out: any day.",
    )

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["earliest"] and given["latest"] and given["latest"] < given["earliest"]:
            raise serializers.ValidationError({"latest": "The last day is before the first."})
        return given
