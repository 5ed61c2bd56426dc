import json
from datetime import date

import pytest
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clinic import patients
from clinic.imports import FileRefused
from clinic.models import Patient
from followup.demo import walk
from tests.real_data import real_file

MR = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]}
SS = {"coding": [{"code": "SS"}]}


def resource(number="1", **changes):
    given = {
        "resourceType": "Patient",
        "id": f"id-{number}",
        "identifier": [
            {"type": SS, "system": "http://hl7.org/fhir/sid/us-ssn", "value": "999-70-4887"},
            {"type": MR, "system": "http://hospital.example.org", "value": f"M{number}"},
        ],
        "name": [{"use": "official", "family": "Towne", "given": ["Shasta", "Lou"]}],
        "telecom": [
            {"system": "phone", "value": "555-182-4236"},
            {"system": "email", "value": f"patient-{number}@example.org"},
        ],
        "gender": "female",
        "birthDate": "1975-11-22",
        "communication": [{"language": {"coding": [{"code": "es-MX"}]}}],
    }
    return {name: value for name, value in (given | changes).items() if value is not None}


@pytest.fixture
def site(bare_site):
    return bare_site


@pytest.fixture
def bring_in(site, at, tmp_path):
    def bring_in(*rows, content=None):
        path = tmp_path / "patients.txt"
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_bytes("\n".join(lines).encode() if content is None else content)
        return patients.import_file(path, site=site, by="ann", at=at)

    return bring_in


def rejected(report):
    return [(reject.line, reject.reason) for reject in report.rejects]


def warned(report):
    return [(warning.line, warning.reason) for warning in report.warnings]


def counted(report):
    return report.read, report.created, report.updated, report.unchanged, len(report.rejects)


def test_a_patient_comes_in_with_what_scheduling_needs_and_nothing_else(bring_in):
    report = bring_in(resource())

    assert counted(report) == (1, 1, 0, 0, 0)
    kept = Patient.objects.values().get()
    assert [str(kept[name]) for name in Patient.PERSONAL] == [
        "M1",
        "Towne",
        "Shasta Lou",
        "1975-11-22",
        "female",
        "patient-1@example.org",
        "555-182-4236",
        "None",
        "es-MX",
    ]
    assert "999-70-4887" not in str(kept)


def test_the_same_file_again_changes_nothing(bring_in):
    bring_in(resource(1), resource(2))

    assert counted(bring_in(resource(1), resource(2))) == (2, 0, 0, 2, 0)
    assert Patient.objects.count() == 2


def test_a_newer_file_corrects_what_it_says_and_keeps_what_it_does_not_mention(bring_in):
    bring_in(resource(1), resource(2))

    report = bring_in(resource(1, telecom=None, name=[{"family": "Town"}]), resource(2))

    assert counted(report) == (2, 0, 1, 1, 0)
    kept = Patient.objects.get(mrn="M1")
    assert (kept.family_name, kept.given_name, kept.email) == ("Town", "", "patient-1@example.org")


def test_bad_rows_are_reported_and_do_not_stop_the_rest(bring_in):
    report = bring_in(
        resource(1),
        "{not json",
        resource(2, name=None),
        resource(3, birthDate="1980-02-30"),
        resource(4, birthDate="2026-05-05"),
        resource(1),
        resource(5, identifier=None, id=None),
        {"resourceType": "Observation"},
        resource(6, birthDate="1066-10-14"),
        resource(7, deceasedDateTime="1970-01-01"),
        resource(8, link=[{"type": "replaced-by"}]),
        resource(9, active=False),
        "[]",
        resource(10),
    )

    assert rejected(report) == [
        (2, "Not JSON: expecting property name enclosed in double quotes at character 2."),
        (3, "No name."),
        (4, "Impossible birth date: 1980-02-30."),
        (5, "Birth date in the future: 2026-05-05."),
        (6, "Repeats the identifier of line 1; the first was kept."),
        (7, "No identifier that may be kept; a medical record number is one."),
        (8, "Not a Patient but Observation."),
        (9, "The birth date is more than 130 years ago."),
        (10, "Died (1970-01-01) before being born (1975-11-22)."),
        (11, "Replaced by another record at its source."),
        (12, "No longer in use at its source."),
        (13, "Not a FHIR resource."),
    ]
    assert counted(report) == (14, 2, 0, 0, 12)
    assert list(Patient.objects.order_by("import_order").values_list("mrn", "import_order")) == [("M1", 1), ("M10", 2)]


def test_a_row_that_can_be_kept_in_part_is_kept_and_the_rest_is_told(bring_in):
    report = bring_in(
        resource(1, telecom=[{"system": "email", "value": "not an address"}, {"system": "phone", "value": "5" * 41}]),
        resource(2, birthDate="1980-05"),
        resource(3, birthDate=None),
        resource(4, gender="F"),
        resource(5, deceasedDateTime="2030-01-01"),
        resource(6, communication=[{"language": {"coding": [{"code": "Klingon, broken"}]}}]),
    )

    assert warned(report) == [
        (1, "The e-mail address cannot be right; it was left out."),
        (1, "The phone number is too long to be one; it was left out."),
        (2, "The birth date is only known as 1980-05; it was left empty."),
        (3, "No birth date."),
        (4, "The gender F is not a FHIR code; it was left out."),
        (5, "The date of death is impossible; recorded as deceased on an unknown day."),
        (6, "The language Klingon, broken is not a language code; it was left out."),
    ]
    assert list(Patient.objects.order_by("mrn").values_list("birth_date", "email", "deceased", "sex", "language")) == [
        (date(1975, 11, 22), "", False, "female", "es-MX"),
        (None, "patient-2@example.org", False, "female", "es-MX"),
        (None, "patient-3@example.org", False, "female", "es-MX"),
        (date(1975, 11, 22), "patient-4@example.org", False, "unknown", "es-MX"),
        (date(1975, 11, 22), "patient-5@example.org", True, "female", "es-MX"),
        (date(1975, 11, 22), "patient-6@example.org", False, "female", "en"),
    ]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"deceasedDateTime": "2019-03-04T23:30:00-05:00"}, (True, date(2019, 3, 4))),
        ({"deceasedDateTime": "2019-03"}, (True, None)),
        ({"deceasedBoolean": True}, (True, None)),
        ({"deceasedBoolean": "yes"}, (True, None)),
        ({"deceasedBoolean": False}, (False, None)),
        ({}, (False, None)),
    ],
)
def test_a_death_is_never_read_past(bring_in, said, kept):
    bring_in(resource(**said))

    patient = Patient.objects.get()
    assert (patient.deceased, patient.deceased_on) == kept


def test_a_file_does_not_raise_the_dead(bring_in):
    bring_in(resource(deceasedBoolean=True))

    report = bring_in(resource(deceasedBoolean=False))

    assert warned(report) == [(1, "Recorded here as deceased, living in the file; nothing was changed.")]
    assert Patient.objects.get().deceased


@pytest.mark.parametrize(
    ("identifier", "kept"),
    [
        ([{"system": "urn:a", "value": "A1"}, {"type": MR, "system": "urn:b", "value": "B1"}], ("urn:b", "B1")),
        ([{"type": SS, "value": "999"}, {"system": "urn:a", "value": "A1"}], ("urn:a", "A1")),
        ([{"system": "http://hl7.org/fhir/sid/us-ssn", "value": "999"}], ("", "id-1")),
        ([{"type": {"text": "Passport Number"}, "value": "X1"}], ("", "id-1")),
        ([{"type": {"text": "MRN"}, "value": "77"}], ("", "77")),
        ([{"type": MR, "value": "old", "use": "old"}, {"type": MR, "value": "new"}], ("", "new")),
        ([{"type": MR, "value": "was", "period": {"end": "2019"}}, {"type": MR, "value": "is"}], ("", "is")),
        ([{"type": MR, "value": " "}, "nonsense", None], ("", "id-1")),
    ],
)
def test_the_record_number_is_kept_and_private_numbers_are_not(bring_in, identifier, kept):
    bring_in(resource(identifier=identifier))

    assert Patient.objects.values_list("mrn_system", "mrn").get() == kept


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ([{"use": "maiden", "family": "Born"}, {"use": "official", "family": "Now", "given": ["A"]}], ("Now", "A")),
        ([{"use": "usual", "family": "Usual"}, {"family": "Other"}], ("Usual", "")),
        ([{"text": "Sukarno"}], ("Sukarno", "")),
        ([{"given": ["Björk"]}], ("Björk", "")),
        ([{"use": "old", "family": "Only"}], ("Only", "")),
        ([{"family": "Ended", "period": {"end": "2020-01-01"}}, {"family": "Present"}], ("Present", "")),
        ([{"family": "Ended", "period": {"end": "2020-01-01"}}], ("Ended", "")),
    ],
)
def test_a_patient_is_called_by_the_name_in_use(bring_in, name, kept):
    bring_in(resource(name=name))

    assert Patient.objects.values_list("family_name", "given_name").get() == kept


def test_contact_is_by_rank_then_use_and_never_by_an_address_that_has_ended(bring_in):
    bring_in(
        resource(
            telecom=[
                {"system": "email", "value": "ended@example.org", "rank": 1, "period": {"end": "2026-05-03"}},
                {"system": "email", "value": "work@example.org", "use": "work"},
                {"system": "email", "value": "home@example.org", "use": "home"},
                {"system": "phone", "value": "1", "use": "mobile"},
                {"system": "phone", "value": "2", "use": "work", "rank": 1},
            ]
        )
    )

    assert Patient.objects.values_list("email", "phone").get() == ("home@example.org", "2")


def bundle(*resources):
    return json.dumps({"resourceType": "Bundle", "entry": [{"resource": one} for one in resources]}, indent=2).encode()


def test_a_bundle_is_read_by_entry_and_other_resources_are_skipped_and_counted(bring_in):
    report = bring_in(content=bundle(resource(1), {"resourceType": "Observation"}, resource(1), None, resource(2)))

    assert (report.unit, report.skipped) == ("entry", 1)
    assert rejected(report) == [
        (3, "Repeats the identifier of entry 1; the first was kept."),
        (4, "Not a FHIR resource."),
    ]
    assert counted(report) == (4, 2, 0, 0, 2)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + json.dumps(resource()).encode() + b"\r\n\r\n",
        json.dumps(resource()).encode("utf-16"),
        json.dumps(resource(), indent=1).encode(),
        json.dumps([resource()]).encode(),
        b"\n\n" + bundle(resource()).replace(b"\n", b"\r\n"),
        json.dumps({"resourceType": "Bundle", "entry": [{"resource": resource()}]}).encode(),
    ],
    ids=["BOM and CRLF", "UTF-16", "one, indented", "a list", "Bundle and CRLF", "Bundle on one line"],
)
def test_it_does_not_matter_what_wrote_the_file(bring_in, content):
    assert counted(bring_in(content=content)) == (1, 1, 0, 0, 0)


def test_a_line_in_another_encoding_is_rejected_and_the_others_are_read(bring_in):
    odd = json.dumps(resource(1, name=[{"family": "Núñez"}]), ensure_ascii=False).encode("latin-1")

    report = bring_in(content=odd + b"\n" + json.dumps(resource(2)).encode())

    assert rejected(report) == [(1, "Not UTF-8 text. Save the file as UTF-8.")]
    assert report.created == 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b" \n\n", "patients.txt is empty."),
        (b"Patient,IVD label\n1,1\n", "The file is neither NDJSON nor a FHIR Bundle. "),
        (bundle(resource())[:200], "The file is neither NDJSON nor a FHIR Bundle. "),
        (b'{"resourceType": "Bundle"}', "There are no patients in the file."),
        (b'{"resourceType": "Bundle", "entry": 3}', "The Bundle has no list of entries."),
        (b"\xff\xfe\x00", "patients.txt begins as UTF-16 text and goes on as something else."),
    ],
)
def test_a_file_that_is_something_else_is_refused_as_a_whole(bring_in, content, sentence):
    with pytest.raises(FileRefused) as refusal:
        bring_in(content=content)

    assert str(refusal.value)[: len(sentence)] == sentence


def test_import_order_is_the_place_in_the_last_file(bring_in):
    bring_in(resource(1), resource(2), resource(3))
    bring_in(resource(3), "broken", resource(1))

    assert list(Patient.objects.order_by("mrn").values_list("mrn", "import_order")) == [
        ("M1", 2),
        ("M2", None),
        ("M3", 1),
    ]


def test_an_import_that_is_interrupted_leaves_whole_patients(site, at, tmp_path):
    path = tmp_path / "patients.ndjson"
    path.write_text("\n".join(json.dumps(resource(n, deceasedBoolean=True)) for n in (1, 2, 3)))

    def stop_after_the_second(done, _total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        patients.import_file(path, site=site, by="ann", at=at, progress=stop_after_the_second)

    assert list(Patient.objects.order_by("mrn").values_list("mrn", "deceased", "import_order")) == [
        ("M1", True, 1),
        ("M2", True, 2),
    ]
    assert counted(patients.import_file(path, site=site, by="ann", at=at)) == (3, 1, 0, 2, 0)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["MR", "Patient"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["value", "family", "given", "end", "coding", "code", "type"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
odd_resources = st.dictionaries(st.sampled_from(sorted(resource())), json_values, max_size=4).map(
    lambda odd: json.dumps(resource("9") | odd).encode("utf-8", "surrogatepass")
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(odd_resources | st.binary(min_size=1, max_size=20), max_size=4))
def test_whatever_a_file_holds_no_row_is_lost_and_nothing_breaks(bring_in, rows):
    report = bring_in(content=b"\n".join([json.dumps(resource("0")).encode(), *rows]))

    assert report.read == report.created + report.updated + report.unchanged + len(report.rejects)
    assert report.read == 1 + sum(bool(line.strip()) for line in b"\n".join(rows).split(b"\n"))


def test_the_command_tells_what_became_of_each_row_and_ends_well(site, tmp_path, capsys):
    path = tmp_path / "patients.ndjson"
    path.write_text(json.dumps(resource(1)) + "\n" + json.dumps(resource(2, name=None, birthDate=None)))

    call_command("import_patients", str(path))

    assert capsys.readouterr().out.splitlines() == [
        "Rejected:",
        "  line 2: No name.",
        "Patients: 2 read, 1 new, 0 changed, 0 unchanged, 1 rejected.",
    ]


def test_the_command_fails_in_one_sentence_when_nothing_can_be_kept(site, tmp_path):
    path = tmp_path / "patients.ndjson"
    path.write_text(json.dumps(resource(1, name=None)))

    with pytest.raises(CommandError) as missing:
        call_command("import_patients", str(tmp_path / "nowhere"))
    with pytest.raises(CommandError) as useless:
        call_command("import_patients", str(path))

    assert str(missing.value) == f"There is no file {tmp_path / 'nowhere'}."
    assert (str(useless.value), useless.value.returncode) == ("Nothing in the file could be kept.", 1)


def test_the_command_asks_which_site_when_there_are_several(other_site, tmp_path):
    path = tmp_path / "patients.ndjson"
    path.write_text(json.dumps(resource()))

    with pytest.raises(CommandError) as which:
        call_command("import_patients", str(path))
    with pytest.raises(CommandError) as unknown:
        call_command("import_patients", str(path), site="nowhere")
    call_command("import_patients", str(path), site="other")

    assert str(which.value) == "There are several sites. Say which with --site: demo, other."
    assert str(unknown.value) == "There is no site nowhere. There is: demo, other."
    assert Patient.objects.get().site == other_site


def test_the_command_says_what_to_do_where_there_is_no_site(db, tmp_path):
    with pytest.raises(CommandError) as refusal:
        call_command("import_patients", str(tmp_path))

    assert str(refusal.value) == "There is no site yet. Create one in the admin, or run: manage.py seed_demo"


def test_a_patient_registered_by_hand_is_found_again_by_the_import(bring_in, site, at):
    walk.register(site, at=at, mrn="M1", mrn_system="http://hospital.example.org")

    assert counted(bring_in(resource(1))) == (1, 0, 1, 0, 0)


@pytest.mark.slow
def test_the_400_patients_come_in_whole_and_without_private_numbers(site, at):
    path = real_file("patients.ndjson")

    report = patients.import_file(path, site=site, by="ann", at=at)

    assert counted(report) == (400, 400, 0, 0, 0)
    assert (Patient.objects.filter(deceased=True).count(), Patient.objects.filter(email="").count()) == (83, 116)
    private = {
        identifier["value"]
        for line in path.read_text().splitlines()
        for identifier in json.loads(line)["identifier"]
        if identifier.get("type", MR) != MR and identifier["type"]["coding"][0]["code"] != "MR"
    }
    kept = {str(value) for row in Patient.objects.values_list() for value in row}
    assert len(private) == 400 + 351 + 327
    assert kept & private == set()
