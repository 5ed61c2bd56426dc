from datetime import date, timedelta

import pytest

from clinic import patients
from clinic.models import Patient, StatusChange
from clinic.patients import AlreadyRegistered, NotRegistered
from clinic.text import clean
from followup.demo import walk


@pytest.fixture
def site(bare_site):
    return bare_site


def trail(patient):
    changes = StatusChange.objects.filter(subject="clinic.Patient", subject_id=str(patient.pk)).order_by("pk")
    return [(change.was, change.became, change.reason) for change in changes]


def test_a_registered_patient_is_kept_with_a_trail(site, at):
    patient = walk.register(site, at=at)

    kept = Patient.objects.get(mrn="MRN-1")
    assert (kept.family_name, kept.birth_date, kept.registered_at) == ("Reyes", date(1980, 3, 9), at)
    assert trail(patient) == [("", "registered", "")]


def test_the_same_number_is_not_registered_twice_at_one_site(site, other_site, at):
    walk.register(site, at=at)
    walk.register(other_site, at=at)

    with pytest.raises(AlreadyRegistered) as refusal:
        walk.register(site, at=at)

    assert str(refusal.value) == "A patient with the number MRN-1 is already registered here."
    assert Patient.objects.count() == 2


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"family_name": " "}, "Family name: This field cannot be blank."),
        ({"mrn": "\x00", "email": ""}, "Medical record number: This field cannot be blank."),
        ({"email": "nobody"}, "Email: Enter a valid email address."),
        ({"sex": "f"}, "Sex: Value 'f' is not a valid choice."),
        ({"birth_date": date(2026, 5, 5)}, "The birth date lies in the future."),
        ({"birth_date": date(1066, 10, 14)}, "The birth date is more than 130 years ago."),
        ({"phone": "1" * 41}, "Phone: Ensure this value has at most 40 characters (it has 41)."),
    ],
)
def test_what_cannot_be_right_is_not_registered_and_the_refusal_says_what(site, at, given, sentence):
    with pytest.raises(NotRegistered) as refusal:
        walk.register(site, at=at, **given)

    assert str(refusal.value) == sentence
    assert not Patient.objects.exists()


def test_a_birth_today_at_the_clinic_is_not_in_the_future_though_it_is_tomorrow_in_utc(site, at):
    late = at.replace(hour=23) + timedelta(hours=3)  # 5 May in UTC, still 4 May in Chicago

    with pytest.raises(NotRegistered):
        walk.register(site, at=late, birth_date=date(2026, 5, 5))

    assert walk.register(site, at=late, birth_date=date(2026, 5, 4)).birth_date == date(2026, 5, 4)


def test_the_trail_of_a_correction_names_the_fields_and_tells_no_values(patient, at):
    patients.correct(patient, family_name="Núñez", phone="", email=patient.email, by="ann", at=at)

    patient.refresh_from_db()
    assert (patient.family_name, patient.phone) == ("Núñez", "")
    assert trail(patient)[1:] == [("registered", "corrected", "family name, phone")]


def test_a_correction_that_changes_nothing_leaves_no_trail(patient, at):
    patients.correct(patient, family_name=" Reyes ", by="ann", at=at)

    assert trail(patient) == [("", "registered", "")]


def test_a_correction_to_another_patients_number_is_refused(site, patient, at):
    walk.register(site, at=at, mrn="MRN-2")

    with pytest.raises(AlreadyRegistered):
        patients.correct(patient, mrn="MRN-2", by="ann", at=at)

    patient.refresh_from_db()
    assert patient.mrn == "MRN-1"


def test_a_death_may_have_no_known_date_and_get_one_later(patient, at):
    patients.mark_deceased(patient, on=None, by="ann", at=at)
    patients.mark_deceased(patient, on=date(2026, 5, 1), by="ann", at=at)
    patients.mark_deceased(patient, on=None, by="ann", at=at)

    patient.refresh_from_db()
    assert (patient.deceased, patient.deceased_on) == (True, date(2026, 5, 1))
    assert trail(patient)[1:] == [("living", "deceased", ""), ("deceased", "deceased", "")]


@pytest.mark.parametrize(
    ("on", "sentence"),
    [
        (date(2026, 5, 5), "The date of death lies in the future."),
        (date(1980, 3, 8), "The date of death is before the date of birth."),
    ],
)
def test_an_impossible_date_of_death_is_refused(patient, at, on, sentence):
    with pytest.raises(NotRegistered) as refusal:
        patients.mark_deceased(patient, on=on, by="ann", at=at)

    assert str(refusal.value) == sentence
    patient.refresh_from_db()
    assert not patient.deceased


def test_a_death_recorded_by_mistake_is_taken_back_with_a_reason(patient, at):
    patients.mark_deceased(patient, on=date(2026, 5, 1), by="ann", at=at)

    with pytest.raises(NotRegistered):
        patients.mark_living(patient, reason=" ", by="ann", at=at)
    patients.mark_living(patient, reason="Namesake", by="ann", at=at)

    patient.refresh_from_db()
    assert (patient.deceased, patient.deceased_on) == (False, None)
    assert trail(patient)[-1] == ("deceased", "living", "Namesake")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("  Marta \t Reyes ", "Marta Reyes"),
        ("Nu\u0301n\u0303ez", "Núñez"),
        ("Re\x00y\x1bes\r\nBcc: all", "Reyes Bcc: all"),
        ("\u202eseyeR", "seyeR"),
        ("half\ud800pair", "halfpair"),
        ("नि\u200dजी", "नि\u200dजी"),
    ],
)
def test_text_is_cleaned_on_its_way_in(given, kept):
    assert clean(given) == kept


def test_line_breaks_stay_in_notes():
    assert clean("one \r\n\x00two\n\n", lines=True) == "one\ntwo"
