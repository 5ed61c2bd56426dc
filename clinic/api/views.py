"""The resources of this app, and what every resource of the API has in common."""

from functools import partial
from typing import Any

from django.db import models
from django.utils.timezone import now
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiResponse, extend_schema
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.viewsets import GenericViewSet

from clinic import optouts, patients
from clinic.api import idempotency
from clinic.api.callers import name_of, seen_by
from clinic.api.refusals import Refusal
from clinic.api.shapes import (
    Death,
    MessageSerializer,
    PatientGiven,
    PatientRegistered,
    PatientSerializer,
    SiteSerializer,
)
from clinic.api.versions import IF_MATCH, etag_of
from clinic.models import Message, Patient, Site
from clinic.states import MessageStatus


class Endpoint(GenericViewSet):
    """One kind of thing: only the caller's own sites, one shape out, one shape in for each step (`bodies`)."""

    bodies: dict[str, type[serializers.Serializer]] = {}

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        """Every POST passes here, once it is known who sends it and that they may."""
        super().initial(request, *args, **kwargs)
        if (key := idempotency.key_of(request)) and (step := getattr(self, "post", None)):
            self.post = partial(idempotency.once, self, key, step)

    def get_queryset(self) -> models.QuerySet:
        return seen_by(self.request, super().get_queryset())

    def get_serializer_class(self) -> type[serializers.Serializer]:
        return self.bodies.get(self.action, self.serializer_class)

    def given(self, **more: Any) -> dict[str, Any]:
        """What was posted, once its shape is right."""
        body = self.get_serializer(data=self.request.data, **more)
        body.is_valid(raise_exception=True)
        return body.validated_data

    def asked(self, shape: type[serializers.Serializer]) -> dict[str, Any]:
        """What was asked for in the address."""
        query = shape(data=self.request.query_params, context=self.get_serializer_context())
        query.is_valid(raise_exception=True)
        return query.validated_data

    def signature(self) -> dict[str, Any]:
        """Who takes this step, and when."""
        return {"by": name_of(self.request), "at": now()}

    def show(self, row: models.Model, *, status: int = 200) -> Response:
        """The row as it is now, read again: a step may have changed more than it returns."""
        return self.told(self.get_queryset().get(pk=row.pk), status=status)

    def told(self, row: models.Model, *, status: int = 200) -> Response:
        shown = self.serializer_class(row, context=self.get_serializer_context()).data
        etag = {"ETag": tag} if (tag := etag_of(row)) else {}
        # A plain dict, or the browsable page makes a form of the answer.
        return Response(dict(shown), status=status, headers=etag)


class Listed(mixins.ListModelMixin, Endpoint):
    """What can be listed."""


class Browsable(mixins.RetrieveModelMixin, Listed):
    """What can be listed and looked at."""

    def retrieve(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        return self.told(self.get_object())


def answers(
    shape: type[serializers.Serializer],
    *,
    status: int = 200,
    refusal: type[Refusal] = Refusal,
    seen: bool = False,
    **more: Any,
) -> Any:
    """The schema of a view that takes one step: it answers with the row, or says why not now. `seen` steps may be told
    which state of the row the caller saw."""
    responses: dict[int, Any] = {status: shape, 409: refusal}
    if seen:
        changed = OpenApiResponse(Refusal, "Somebody has changed it since. Nothing was done.")
        return extend_schema(responses=responses | {412: changed}, parameters=[IF_MATCH], **more)
    return extend_schema(responses=responses, **more)


def step(
    shape: type[serializers.Serializer],
    *,
    body: bool = False,
    refusal: type[Refusal] = Refusal,
    seen: bool = False,
    **more: Any,
) -> Any:
    """A step that one row takes, POSTed to it."""
    about: dict[str, Any] = {} if body else {"request": None}
    schema = answers(shape, refusal=refusal, seen=seen, **about)

    def decorate(method: Any) -> Any:
        return schema(action(detail=True, methods=["post"], **more)(method))

    return decorate


class Sites(Listed):
    """The clinics you work at, with their time zones."""

    queryset = Site.objects.order_by("code")
    serializer_class = SiteSerializer


class PatientFilter(filters.FilterSet):
    mrn = filters.CharFilter()
    family_name = filters.CharFilter(lookup_expr="iexact")
    deceased = filters.BooleanFilter()


class Patients(Browsable):
    """The people under care. What scheduling and follow-up do not need is not kept."""

    queryset = Patient.objects.select_related("site").prefetch_related("optouts").order_by("registered_at", "pk")
    serializer_class = PatientSerializer
    bodies = {"create": PatientRegistered, "partial_update": PatientGiven, "deceased": Death}
    filterset_class = PatientFilter

    @answers(PatientSerializer, status=201)
    def create(self, request: Any) -> Response:
        """Register a patient."""
        return self.show(patients.register(**self.given(), **self.signature()), status=201)

    @answers(PatientSerializer)
    def partial_update(self, request: Any, pk: str) -> Response:
        """Correct what the record says of a patient."""
        return self.show(patients.correct(self.get_object(), **self.given(partial=True), **self.signature()))

    @step(PatientSerializer, body=True)
    def deceased(self, request: Any, pk: str) -> Response:
        """Record that the patient has died: nothing is sent to them any more."""
        return self.show(patients.mark_deceased(self.get_object(), **self.given(), **self.signature()))

    @step(PatientSerializer, url_path="stop-email")
    def stop_email(self, request: Any, pk: str) -> Response:
        """Send this patient no more e-mail."""
        return self.show(optouts.stop(self.get_object(), **self.signature()))


class MessageFilter(filters.FilterSet):
    patient = filters.UUIDFilter(field_name="patient_id")
    kind = filters.CharFilter()
    status = filters.ChoiceFilter(choices=MessageStatus.choices)


class Messages(Browsable):
    """What is due to be said to patients, what was said, and what was not, with the reason."""

    queryset = Message.objects.order_by("due_at", "pk")
    serializer_class = MessageSerializer
    filterset_class = MessageFilter


class Docs(SpectacularSwaggerSplitView):
    """The API to read and to try, without a line of script or style in the page."""

    template_name = "clinic/api_docs.html"


router = SimpleRouter()
router.register("sites", Sites, basename="site")
router.register("patients", Patients, basename="patient")
router.register("messages", Messages, basename="message")
