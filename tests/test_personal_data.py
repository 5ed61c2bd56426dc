"""Every field that could tell something about a patient is either listed as personal by its model (`PERSONAL`), or
named here with what it holds instead. A new field fails this test until somebody has decided."""

from django.apps import apps
from django.db import models

from clinic.models import Patient, StatusChange

TEXT = (models.CharField, models.TextField, models.JSONField)

# What these hold: codes and numbers of things, times, staff names, and words about our own work.
NOT_PERSONAL = {
    "clinic.Patient": {"mrn_system"},
    "clinic.Message": {"about", "kind", "occasion", "reason", "subject"},
    "clinic.StatusChange": {"subject", "subject_id", "was", "became"},
    "scheduling.MriStudy": {"scanner", "sequence"},
    "scheduling.Unit": {"identifier", "storage", "chosen_because", "discard_reason"},
    "scheduling.Closure": {"reason"},
    "scheduling.Reservation": {"role"},
    "scheduling.WaitlistOffer": {"option", "reason"},
    "followup.Answer": {"link_id"},
    "followup.FollowUpEvent": {"code", "name"},
    "followup.Response": {"instrument_code", "score_status", "scored"},
}
STAFF = {
    "acknowledged_by",
    "added_by",
    "by",
    "called_by",
    "closed_by",
    "discharged_by",
    "evaluated_by",
    "harvested_by",
    "injected_by",
    "matched_by",
    "ordered_by",
    "read_by",
    "recorded_by",
    "scored_by",
    "settled_by",
    "signed_by",
}


def ours():
    return [model for app in ("clinic", "scheduling", "followup") for model in apps.get_app_config(app).get_models()]


def leads_to_a_patient(model, seen=()):
    """Whether a row of `model` belongs to a patient, directly or through the rows it points to."""
    if model in (Patient, StatusChange):
        return True
    onward = {field.related_model for field in model._meta.concrete_fields if field.is_relation} - set(seen)
    return any(leads_to_a_patient(other, (*seen, model)) for other in onward)


def text_fields(model):
    """Where words can be written: not the choices, and not the names of the staff who did something."""
    return {
        field.name
        for field in model._meta.concrete_fields
        if isinstance(field, TEXT) and not field.choices and field.name not in STAFF
    }


def unclassified():
    for model in ours():
        if leads_to_a_patient(model):
            known = {*getattr(model, "PERSONAL", ()), *NOT_PERSONAL.get(model._meta.label, ())}
            yield from (f"{model._meta.label}.{name}" for name in sorted(text_fields(model) - known))


def test_every_text_about_a_patient_is_classified():
    assert list(unclassified()) == []


def test_what_is_listed_as_personal_or_not_exists():
    listed = {model._meta.label: getattr(model, "PERSONAL", ()) for model in ours()}
    names = {model._meta.label: {field.name for field in model._meta.get_fields()} for model in ours()}

    assert [
        f"{label}.{name}"
        for listing in (listed, NOT_PERSONAL)
        for label, fields in listing.items()
        for name in fields
        if name not in names.get(label, ())
    ] == []


def test_nothing_is_both_personal_and_not():
    assert [
        label
        for label, fields in NOT_PERSONAL.items()
        if set(fields) & set(getattr(apps.get_model(label), "PERSONAL", ()))
    ] == []
