"""A study is received, read by one person, read again by another, and agreed on where the two differ."""

from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clinic.models import StatusChange
from followup.demo import walk
from scheduling import studies
from scheduling.models import DiscReading, MriStudy, Resource
from scheduling.models.mri import ReaderRole

ON = date(2026, 4, 29)


@pytest.fixture
def person(bare_site, at):
    return walk.register(bare_site, at=at)


@pytest.fixture
def study(person, at):
    return studies.receive(person, identifier="A-17", acquired_on=ON, by="ann", at=at)


def read(study, role, reader, *, at, **graded):
    seen = {level.replace("_", "/"): grade for level, grade in graded.items()}
    discs = [{"level": level, "scale": "pfirrmann5", "grade": grade} for level, grade in seen.items()]
    return studies.read(study, role=role, discs=discs, read_by=reader, by="ann", at=at)


def fresh(study):
    return MriStudy.objects.get(pk=study.pk)


def held(study):
    return {level: disc and disc.grade for level, disc in fresh(study).findings().items()}


def test_a_study_that_has_come_waits_for_its_reader(study, at):
    waiting = list(studies.unread())
    read(study, "first", "Dr A", at=at, L4_5=4)

    assert waiting == [study]
    assert list(studies.unread()) == []
    assert fresh(study).read_by == "Dr A"
    trail = StatusChange.objects.filter(subject_id=str(study.pk)).order_by("pk")
    assert list(trail.values_list("became", flat=True)) == ["recorded", "read"]


def test_one_reading_holds_until_somebody_differs(study, at):
    read(study, "first", "Dr A", at=at, L4_5=4, L5_S1=3)
    alone = held(study)
    read(study, "second", "Dr B", at=at, L4_5=4, L5_S1=5)

    assert alone == {"L4/5": 4, "L5/S1": 3}
    assert held(study) == {"L4/5": 4, "L5/S1": None}
    assert studies.to_agree(fresh(study)) == ["L5/S1"]
    assert list(studies.disputed()) == [study]


def test_a_consensus_settles_what_the_two_differ_in_and_nothing_else(study, at):
    read(study, "first", "Dr A", at=at, L4_5=4, L5_S1=3)
    read(study, "second", "Dr B", at=at, L4_5=4, L5_S1=5)

    with pytest.raises(studies.StudyRefused, match="L4/5: the readers do not differ there"):
        read(study, "consensus", "Dr A and Dr B", at=at, L4_5=3)
    read(study, "consensus", "Dr A and Dr B", at=at, L5_S1=4)

    assert held(study) == {"L4/5": 4, "L5/S1": 4}
    assert list(studies.disputed()) == []
    assert DiscReading.objects.count() == 5


@pytest.mark.parametrize("name", ["Dr A", "dr a", " Dr  A "])
def test_a_second_reader_is_somebody_else(study, at, name):
    read(study, "first", "Dr A", at=at, L4_5=4)

    with pytest.raises(studies.StudyRefused, match="A second reader is somebody else"):
        read(study, "second", name, at=at, L4_5=3)

    assert DiscReading.objects.count() == 1


@pytest.mark.parametrize(
    ("role", "reader", "words"),
    [
        ("first", "Dr C", "has a first reader already: Dr A"),
        ("second", " ", "Say who read it"),
        ("consensus", "Dr A and Dr B", "nothing to agree on"),
        ("third", "Dr C", "Say who reads"),
    ],
)
def test_a_reading_out_of_turn_is_refused_in_words(study, at, role, reader, words):
    read(study, "first", "Dr A", at=at, L4_5=4)

    with pytest.raises(studies.StudyRefused, match=words):
        read(study, role, reader, at=at, L4_5=3)


def test_nobody_reads_second_before_the_first(study, at):
    with pytest.raises(studies.StudyRefused, match="Nobody has read this study yet"):
        read(study, "second", "Dr B", at=at, L4_5=3)


@pytest.mark.parametrize(
    ("discs", "words"),
    [
        ([], "at least one disc"),
        ([{"level": "L4/5", "scale": "pfirrmann5", "grade": 6}], "does not exist on that scale"),
        ([{"level": "L4/5", "scale": "pfirrmann5", "grade": 3, "modic": 4}], "outside its scale"),
        ([{"level": "L4/5", "scale": "pfirrmann5", "grade": 3}] * 2, "read twice"),
        ([{"level": "L4/5", "scale": "pfirrmann5", "grade": 3, "role": "consensus"}], "has no role"),
        ([{"scale": "pfirrmann5", "grade": 3}], "blank"),
    ],
)
def test_a_reading_that_makes_no_sense_leaves_nothing(study, at, discs, words):
    with pytest.raises(studies.StudyRefused, match=words):
        studies.read(study, discs=discs, read_by="Dr A", by="ann", at=at)

    assert DiscReading.objects.count() == 0


def test_a_study_is_made_on_one_scanner_of_this_clinic_or_on_one_elsewhere(site, other_site, patient, at):
    ours = studies.scanners(site).get()
    theirs = studies.scanners(other_site).get()
    room = Resource.objects.filter(site=site, kind="procedure_room").first()
    given = {"acquired_on": ON, "by": "ann", "at": at}

    here = studies.receive(patient, identifier="1", device=ours, **given)
    elsewhere = studies.receive(patient, identifier="2", scanner="Harbour Imaging 3T", **given)

    assert (here.made_on, elsewhere.made_on) == ("MRI scanner", "Harbour Imaging 3T")
    for wrong in ({"device": theirs}, {"device": room}, {"device": ours, "scanner": "Another"}):
        with pytest.raises(studies.StudyRefused):
            studies.receive(patient, identifier="3", **given, **wrong)


def test_it_may_be_said_later_on_which_scanner_a_study_was_made(site, patient, at):
    study = studies.receive(patient, identifier="1", acquired_on=ON, scanner="Harbour Imaging", by="ann", at=at)
    ours = studies.scanners(site).get()

    studies.describe(study, device=ours, scanner="", sequence=" sagittal  T2 ", by="bob", at=at)

    said = StatusChange.objects.filter(subject_id=str(study.pk)).latest("pk")
    assert (fresh(study).made_on, fresh(study).sequence) == ("MRI scanner", "sagittal T2")
    assert (said.by, said.reason) == ("bob", "Before: Harbour Imaging.")


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({}, "Say on which scanner"),
        ({"field_strength_tesla": "strong"}, "number"),
        ({"sequence": "T2" * 101}, "at most 200"),
        ({"grade": 3}, "Not something"),
    ],
)
def test_what_is_said_of_a_scanner_makes_sense(study, at, made, words):
    with pytest.raises(studies.StudyRefused, match=words):
        studies.describe(study, by="bob", at=at, **made)


GRADED = st.fixed_dictionaries(
    {
        "scale": st.sampled_from(["pfirrmann5", "modified8"]),
        "grade": st.integers(1, 5),
        "modic": st.none() | st.integers(0, 3),
        "spondylolisthesis_grade": st.none() | st.integers(0, 5),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(one=GRADED, other=GRADED, agreed=st.none() | GRADED)
def test_the_database_finds_the_same_differences_as_the_rule(study, one, other, agreed):
    DiscReading.objects.filter(study=study).delete()
    for role, seen in ((ReaderRole.FIRST, one), (ReaderRole.SECOND, other), (ReaderRole.CONSENSUS, agreed)):
        if seen is not None:
            DiscReading.objects.create(study=study, level="L4/5", role=role, **seen)

    assert list(studies.disputed()) == ([study] if studies.to_agree(fresh(study)) else [])
