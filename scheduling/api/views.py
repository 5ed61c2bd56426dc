"""Getting to the day over the API: each view takes one step, or looks."""

from typing import Any

from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.models import Prefetch, QuerySet
from django.utils.timezone import now
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter

from clinic.api.callers import seen_by
from clinic.api.shapes import IdFilter, InstantFilter, Reason
from clinic.api.versions import seen
from clinic.api.views import Browsable, Listed, answers, step
from scheduling import bookings, closures, evaluations, limits, preparation, referrals, studies, waitlist
from scheduling.api import cells
from scheduling.api.offers import offered, unseal
from scheduling.api.shapes import (
    AppointmentSerializer,
    Assigned,
    BookingRefused,
    Closed,
    ClosureSerializer,
    EpisodeOpened,
    EpisodeSerializer,
    EvaluationRecorded,
    EvaluationSerializer,
    JudgedBy,
    Moved,
    MriStudyRecorded,
    MriStudySerializer,
    Overridden,
    PeriodAsked,
    ProtocolSerializer,
    ReferralReceived,
    ReferralSerializer,
    ResourceSerializer,
    Search,
    Slots,
    StudyRead,
    Swapped,
    VerdictSerializer,
    VisitSearch,
    WaitlistAdded,
    WaitlistEntrySerializer,
    Wanted,
)
from scheduling.models import (
    Appointment,
    AppointmentStep,
    Closure,
    Episode,
    Evaluation,
    MriStudy,
    Protocol,
    Referral,
    Reservation,
    Resource,
    Verdict,
    WaitlistEntry,
    WaitlistOffer,
)
from scheduling.models.appointment import ReservationKind
from scheduling.models.evaluation import Outcome
from scheduling.models.protocol import ResourceKind, Visit
from scheduling.slots import Option
from scheduling.states import AppointmentStatus, EpisodeStatus, ReferralStatus, VerdictStatus, WaitlistStatus

SIGN = "scheduling.sign_verdict"
TAKEN = Prefetch(
    "reservations",
    Reservation.objects.filter(live=True, kind=ReservationKind.STEP)
    .exclude(resource__kind=ResourceKind.PATIENT)
    .select_related("resource")
    .order_by("pk"),
    to_attr="taken",
)
STEPS = Prefetch("steps", AppointmentStep.objects.order_by("order").prefetch_related(TAKEN))


class ReferralFilter(filters.FilterSet):
    patient = filters.UUIDFilter(field_name="patient_id")
    status = filters.ChoiceFilter(choices=ReferralStatus.choices)


class Referrals(Browsable):
    """Who was sent to the clinic, by whom and why (FHIR ServiceRequest)."""

    queryset = Referral.objects.order_by("received_on", "pk")
    serializer_class = ReferralSerializer
    bodies = {"create": ReferralReceived, "decline": Reason}
    filterset_class = ReferralFilter

    @answers(ReferralSerializer, status=201)
    def create(self, request: Any) -> Response:
        """Receive a referral."""
        body = self.given()
        return self.show(referrals.receive(body.pop("patient"), **body, **self.signature()), status=201)

    @step(ReferralSerializer)
    def accept(self, request: Any, pk: str) -> Response:
        """Accept the referral: the patient is to be evaluated."""
        return self.show(referrals.accept(self.get_object(), **self.signature()))

    @step(ReferralSerializer, body=True)
    def decline(self, request: Any, pk: str) -> Response:
        """Decline the referral, with a reason."""
        return self.show(referrals.decline(self.get_object(), **self.given(), **self.signature()))


class MriStudyFilter(filters.FilterSet):
    patient = filters.UUIDFilter(field_name="patient_id")


class MriStudies(Browsable):
    """MRI studies and what was read in them, disc by disc (FHIR ImagingStudy)."""

    queryset = MriStudy.objects.prefetch_related("discs").order_by("acquired_on", "pk")
    serializer_class = MriStudySerializer
    bodies = {"create": MriStudyRecorded, "assign": Assigned, "read": StudyRead}
    needs = {"read": "scheduling.add_discreading"}
    filterset_class = MriStudyFilter

    @answers(MriStudySerializer, status=201)
    def create(self, request: Any) -> Response:
        """Keep a study that was read, with at least level, scale and grade of each disc."""
        body = self.given()
        return self.show(studies.record(body.pop("patient"), **body, **self.signature()), status=201)

    @step(MriStudySerializer, body=True)
    def assign(self, request: Any, pk: str) -> Response:
        """Say whose spine a study without a patient shows."""
        return self.show(studies.assign(self.get_object(), **self.given(), **self.signature()))

    @step(MriStudySerializer, body=True)
    def read(self, request: Any, pk: str) -> Response:
        """Enter a first or second reading, or the consensus of both readers for the discs in which they differ."""
        return self.show(studies.read(self.get_object(), **self.given(), **self.signature()))


class EvaluationFilter(filters.FilterSet):
    referral = filters.UUIDFilter(field_name="referral_id")
    patient = filters.UUIDFilter(field_name="referral__patient_id")


class Evaluations(Browsable):
    """History, examination and imaging as found on one day."""

    queryset = Evaluation.objects.prefetch_related("treatments").order_by("evaluated_on", "pk")
    serializer_class = EvaluationSerializer
    bodies = {"create": EvaluationRecorded, "judge": JudgedBy}
    needs = {"judge": "scheduling.add_verdict"}
    filterset_class = EvaluationFilter

    @answers(EvaluationSerializer, status=201)
    def create(self, request: Any) -> Response:
        """Record what was found. What is left out counts as not known."""
        findings = self.given()
        referral, treatments = findings.pop("referral"), findings.pop("treatments", [])
        made = evaluations.record(referral, findings=findings, treatments=treatments, **self.signature())
        return self.show(made, status=201)

    @answers(VerdictSerializer, status=201)
    @action(detail=True, methods=["post"])
    def judge(self, request: Any, pk: str) -> Response:
        """Hold the findings against a protocol's criteria: a draft verdict, one reason per criterion."""
        verdict = evaluations.judge(self.get_object(), **self.given(), **self.signature())
        return Response(VerdictSerializer(verdict, context=self.get_serializer_context()).data, status=201)


class VerdictFilter(filters.FilterSet):
    evaluation = filters.UUIDFilter(field_name="evaluation_id")
    patient = filters.UUIDFilter(field_name="evaluation__referral__patient_id")
    status = filters.ChoiceFilter(choices=VerdictStatus.choices)
    outcome = filters.ChoiceFilter(choices=Outcome.choices)


class Verdicts(Browsable):
    """What the criteria said, line by line, and what a clinician signed. A machine cannot sign."""

    queryset = Verdict.objects.select_related("protocol", "criteria").order_by("evaluation__evaluated_on", "pk")
    serializer_class = VerdictSerializer
    bodies = {"override": Overridden, "withdraw": Reason}
    needs = {"sign": SIGN, "override": SIGN, "withdraw": SIGN}
    people_only = ("sign", "override", "withdraw")
    filterset_class = VerdictFilter

    @step(VerdictSerializer)
    def sign(self, request: Any, pk: str) -> Response:
        """Sign what the criteria say."""
        return self.show(evaluations.sign(self.get_object(), **self.signature()))

    @step(VerdictSerializer, body=True)
    def override(self, request: Any, pk: str) -> Response:
        """Sign another outcome than the criteria's, with a reason."""
        return self.show(evaluations.override(self.get_object(), **self.given(), **self.signature()))

    @step(VerdictSerializer, body=True)
    def withdraw(self, request: Any, pk: str) -> Response:
        """Take a verdict back, with a reason."""
        return self.show(evaluations.withdraw(self.get_object(), **self.given(), **self.signature()))


class EpisodeFilter(filters.FilterSet):
    patient = filters.UUIDFilter(field_name="patient_id")
    status = filters.ChoiceFilter(choices=EpisodeStatus.choices)


class Episodes(Browsable):
    """One treatment of one patient under one protocol, until its outcome (FHIR CarePlan). Its follow-up is under
    `follow-up-events?episode=`."""

    queryset = Episode.objects.select_related("protocol").order_by("opened_at", "pk")
    serializer_class = EpisodeSerializer
    bodies = {"create": EpisodeOpened, "cancel": Reason}
    filterset_class = EpisodeFilter

    def get_queryset(self) -> QuerySet[Episode]:
        rows = super().get_queryset()
        return rows.select_related(*limits.ASKED) if self.action == "slots" else rows

    @answers(EpisodeSerializer, status=201)
    def create(self, request: Any) -> Response:
        """Open an episode from a signed, eligible verdict."""
        return self.show(bookings.open_episode(self.given()["verdict"], **self.signature()), status=201)

    @extend_schema(parameters=[VisitSearch], responses={200: Slots}, filters=False)
    @action(detail=True, methods=["get"], pagination_class=None, filterset_class=None)
    def slots(self, request: Any, pk: str) -> Response:
        """Search for times at which every step of a visit fits, or say what is short."""
        episode, asked = self.get_object(), self.asked(VisitSearch)
        found = bookings.find(episode, at=now(), **asked)
        return Response(offered(found, episode=episode, visit=asked["visit"]))

    @step(EpisodeSerializer, body=True)
    def cancel(self, request: Any, pk: str) -> Response:
        """Give the treatment up before the injection: its appointments are cancelled too."""
        return self.show(bookings.cancel_episode(self.get_object(), **self.given(), **self.signature()))


class AppointmentFilter(filters.FilterSet):
    episode = filters.UUIDFilter(field_name="episode_id")
    patient = filters.UUIDFilter(field_name="episode__patient_id")
    visit = filters.ChoiceFilter(choices=Visit.choices)
    status = filters.ChoiceFilter(choices=AppointmentStatus.choices)
    starts_after = InstantFilter(field_name="during__startswith", lookup_expr="gte")
    starts_before = InstantFilter(field_name="during__startswith", lookup_expr="lt")


class Appointments(Browsable):
    """Visits, their steps in order, and what is taken for each (FHIR Appointment)."""

    queryset = Appointment.objects.select_related("episode").prefetch_related(STEPS).order_by("during", "pk")
    serializer_class = AppointmentSerializer
    bodies = {
        "create": Wanted,
        "hold": Wanted,
        "move": Moved,
        "swap": Swapped,
        "cancel": Reason,
        "no_show": Reason,
    }
    needs = {"hold": "scheduling.add_appointment"}
    filterset_class = AppointmentFilter

    @answers(AppointmentSerializer, status=201, refusal=BookingRefused)
    def create(self, request: Any) -> Response:
        """Book a time that was offered."""
        return self.show(bookings.book_at(**self.wanted(), **self.signature()), status=201)

    @answers(AppointmentSerializer, status=201, refusal=BookingRefused)
    @action(detail=False, methods=["post"])
    def hold(self, request: Any) -> Response:
        """Keep a time that was offered for a few minutes, while the patient decides."""
        return self.show(bookings.hold(**self.wanted(), **self.signature()), status=201)

    def wanted(self) -> dict[str, Any]:
        body = self.given()
        return body | {"option": unseal(body["option"], episode=body["episode"], visit=body["visit"])}

    @step(AppointmentSerializer)
    def book(self, request: Any, pk: str) -> Response:
        """Book a time that is held."""
        return self.show(bookings.book(self.get_object(), **self.signature()))

    @step(AppointmentSerializer)
    def confirm(self, request: Any, pk: str) -> Response:
        """The patient said they will come."""
        return self.show(bookings.confirm(self.get_object(), **self.signature()))

    @extend_schema(parameters=[Search], responses={200: Slots}, filters=False)
    @action(detail=True, methods=["get"], pagination_class=None, filterset_class=None)
    def slots(self, request: Any, pk: str) -> Response:
        """Search for other times for this appointment; its own time counts as free."""
        appointment, asked = self.get_object(), self.asked(Search)
        episode, visit = appointment.episode, appointment.visit
        found = bookings.find(episode, visit=visit, ignore=appointment, at=now(), **asked)
        return Response(offered(found, episode=episode, visit=visit))

    @step(AppointmentSerializer, body=True, refusal=BookingRefused, seen=True)
    def move(self, request: Any, pk: str) -> Response:
        """Move to another time that was offered. When it cannot, nothing changes."""
        appointment, body = self.get_object(), self.given()
        option = unseal(body["option"], episode=appointment.episode, visit=appointment.visit)
        given = {"option": option, "reason": body["reason"], "seen": seen(request)}
        return self.show(bookings.move(appointment, **given, **self.signature()))

    @step(AppointmentSerializer, body=True, refusal=BookingRefused, seen=True)
    def swap(self, request: Any, pk: str) -> Response:
        """Put another room, device or person in the place of one, in every step still to come. The time stays."""
        return self.show(bookings.swap(self.get_object(), **self.given(), seen=seen(request), **self.signature()))

    @step(AppointmentSerializer, body=True, seen=True)
    def cancel(self, request: Any, pk: str) -> Response:
        """Cancel, with a reason. Everything that was taken is free again."""
        return self.show(bookings.cancel(self.get_object(), **self.given(), seen=seen(request), **self.signature()))

    @step(AppointmentSerializer)
    def arrive(self, request: Any, pk: str) -> Response:
        """The patient is here."""
        return self.show(bookings.arrive(self.get_object(), **self.signature()))

    @step(AppointmentSerializer)
    def fulfil(self, request: Any, pk: str) -> Response:
        """The visit is over."""
        return self.show(bookings.fulfil(self.get_object(), **self.signature()))

    @step(AppointmentSerializer, body=True, url_path="no-show")
    def no_show(self, request: Any, pk: str) -> Response:
        """The patient did not come."""
        return self.show(bookings.no_show(self.get_object(), **self.given(), **self.signature()))

    @step(AppointmentSerializer, url_path="replace-units")
    def replace_units(self, request: Any, pk: str) -> Response:
        """Give the day the units it lacks, or that will be out of date by then. Which: `units?appointment=`."""
        appointment = self.get_object()
        preparation.replace_unit(appointment, **self.signature())
        return self.show(appointment)


class ResourceFilter(filters.FilterSet):
    kind = filters.ChoiceFilter(
        choices=[choice for choice in ResourceKind.choices if choice[0] != ResourceKind.PATIENT]
    )
    active = filters.BooleanFilter()


class Resources(Browsable):
    """Rooms, devices and people that can be in one place at a time."""

    queryset = (
        Resource.objects.exclude(kind=ResourceKind.PATIENT)
        .select_related("site")
        .order_by("site_id", "kind", "name", "pk")
    )
    serializer_class = ResourceSerializer
    needs = {"affected": "scheduling.view_appointment"}
    filterset_class = ResourceFilter

    @extend_schema(parameters=[PeriodAsked], responses={200: AppointmentSerializer(many=True)}, filters=False)
    @action(detail=True, methods=["get"], pagination_class=None, filterset_class=None)
    def affected(self, request: Any, pk: str) -> Response:
        """The appointments that a closure in this time would affect: each needs a place in its plan."""
        resource, asked = self.get_object(), self.asked(PeriodAsked)
        rows = closures.affected(resource, DateTimeTZRange(asked["start"], asked["end"]))
        shown = seen_by(request, Appointment.objects.filter(pk__in=rows.values("pk")))
        shown = shown.select_related("episode").prefetch_related(STEPS).order_by("during", "pk")
        return Response(AppointmentSerializer(shown, many=True, context=self.get_serializer_context()).data)


class ClosureFilter(filters.FilterSet):
    resource = IdFilter(field_name="resource_id")


class Closures(Browsable):
    """Time in which a resource cannot be used, and what became of who was booked then."""

    queryset = Closure.objects.order_by("closed_at", "pk")
    serializer_class = ClosureSerializer
    bodies = {"create": Closed}
    filterset_class = ClosureFilter

    @answers(ClosureSerializer, status=201, refusal=BookingRefused)
    def create(self, request: Any) -> Response:
        """Close a resource. Every appointment in that time must be moved or cancelled by the plan."""
        body = self.given()
        lines = body.pop("plan")
        plan = {line["appointment"].pk: self.destination(line["appointment"], line["option"]) for line in lines}
        seen = {line["appointment"].pk: line["revision"] for line in lines if "revision" in line}
        made = closures.close(body.pop("resource"), plan=plan, seen=seen, **body, **self.signature())
        return self.show(made, status=201)

    def destination(self, appointment: Appointment, option: str | None) -> Option | None:
        """Where the plan moves an appointment; None cancels it."""
        return option and unseal(option, episode=appointment.episode, visit=appointment.visit)

    @step(ClosureSerializer)
    def reopen(self, request: Any, pk: str) -> Response:
        """Take the closure back."""
        return self.show(closures.reopen(self.get_object(), **self.signature()))


class WaitlistFilter(filters.FilterSet):
    episode = filters.UUIDFilter(field_name="episode_id")
    patient = filters.UUIDFilter(field_name="episode__patient_id")
    visit = filters.ChoiceFilter(choices=Visit.choices)
    status = filters.ChoiceFilter(choices=WaitlistStatus.choices)


class Waitlist(Browsable):
    """Who waits for a time that becomes free, in the order in which they are asked: who has waited longest is first.
    One patient at a time is asked, and the time is kept for them meanwhile."""

    queryset = (
        WaitlistEntry.objects.select_related("episode")
        .prefetch_related(Prefetch("offers", WaitlistOffer.objects.order_by("made_at", "pk")))
        .with_place()
        .order_by("added_at", "pk")
    )
    serializer_class = WaitlistEntrySerializer
    bodies = {"create": WaitlistAdded, "withdraw": Reason}
    filterset_class = WaitlistFilter

    @answers(WaitlistEntrySerializer, status=201)
    def create(self, request: Any) -> Response:
        """Put a patient at the end of the list. A booking they have stays until they accept a sooner time."""
        body = self.given()
        return self.show(waitlist.add(body.pop("episode"), **body, **self.signature()), status=201)

    @step(WaitlistEntrySerializer, body=True)
    def withdraw(self, request: Any, pk: str) -> Response:
        """Take a patient off the list, with a reason. What was offered to them just now is taken back."""
        return self.show(waitlist.withdraw(self.get_object(), **self.given(), **self.signature()))


class Protocols(Listed):
    """Which visits and steps a treatment has, how long they take and what they need (FHIR PlanDefinition)."""

    queryset = (
        Protocol.objects.select_related("product", "criteria")
        .prefetch_related("steps__needs")
        .order_by("code", "version")
    )
    serializer_class = ProtocolSerializer


router = SimpleRouter()
router.register("referrals", Referrals)
router.register("mri-studies", MriStudies, basename="mri-study")
router.register("evaluations", Evaluations)
router.register("verdicts", Verdicts)
router.register("episodes", Episodes)
router.register("appointments", Appointments)
router.register("resources", Resources)
router.register("closures", Closures)
router.register("waitlist", Waitlist, basename="waitlist-entry")
router.register("protocols", Protocols)
router.registry.extend(cells.router.registry)
