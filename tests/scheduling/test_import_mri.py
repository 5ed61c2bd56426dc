from collections import Counter
from datetime import date

import pytest
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clinic.imports import FileRefused
from followup.demo import walk
from scheduling import evaluations, protocols
from scheduling.models import DiscReading, MriStudy
from tests.real_data import real_file

HEADER = (
    "Patient,IVD label,Modic,UP endplate,LOW endplate,"
    "Spondylolisthesis,Disc herniation,Disc narrowing,Disc bulging,Pfirrman grade"
)


@pytest.fixture
def site(bare_site):
    return bare_site


@pytest.fixture
def bring_in(site, at, tmp_path):
    def bring_in(*rows, header=HEADER, content=None, **options):
        path = tmp_path / "discs.csv"
        path.write_bytes("\n".join([header, *rows]).encode() if content is None else content)
        return evaluations.import_readings(path, site=site, by="ann", at=at, **options)

    return bring_in


def rejected(report):
    return [(reject.line, reject.reason) for reject in report.rejects]


def counted(report):
    return report.read, report.created, report.updated, report.unchanged, len(report.rejects)


def test_a_disc_comes_in_with_its_scale_and_what_was_seen(bring_in):
    report = bring_in("7,2,3,1,0,1,0,1,0,4")

    assert (counted(report), report.studies, report.unassigned) == ((1, 1, 0, 0, 0), 1, 1)
    disc = DiscReading.objects.values().get()
    assert {name: value for name, value in disc.items() if name not in ("id", "study_id")} == {
        "role": "first",
        "read_by": "",
        "read_at": None,
        "blinded": None,
        "level": "L4/5",
        "scale": "pfirrmann5",
        "grade": 4,
        "modic": 3,
        "upper_endplate_change": True,
        "lower_endplate_change": False,
        "spondylolisthesis": True,
        "spondylolisthesis_grade": None,
        "herniation": False,
        "narrowing": True,
        "bulging": False,
        "height_loss_pct": None,
    }
    assert MriStudy.objects.values_list("identifier", "patient", "acquired_on").get() == ("7", None, None)


def test_labels_count_the_discs_from_the_bottom(bring_in):
    bring_in(*(f"7,{label},,,,,,,,3" for label in range(1, 18)))

    assert list(DiscReading.objects.values_list("level", flat=True)) == [
        *("L5/S1", "L4/5", "L3/4", "L2/3", "L1/2", "T12/L1", "T11/12", "T10/11", "T9/10", "T8/9", "T7/8", "T6/7"),
        *("T5/6", "T4/5", "T3/4", "T2/3", "T1/2"),
    ]


def test_an_empty_cell_is_unknown_and_not_a_no(bring_in):
    bring_in("7,2,,,,,,,,4")

    seen = DiscReading.objects.values("modic", "upper_endplate_change", "spondylolisthesis", "bulging").get()
    assert set(seen.values()) == {None}


def test_bad_rows_are_reported_and_do_not_stop_the_rest(bring_in):
    report = bring_in(
        "1,1,0,0,0,0,0,0,0,3",
        "1,0,0,0,0,0,0,0,0,3",
        "1,18,0,0,0,0,0,0,0,3",
        "1,,0,0,0,0,0,0,0,3",
        "1,2.5,0,0,0,0,0,0,0,3",
        "1,2,4,0,0,0,0,0,0,3",
        "1,2,0,2,0,0,0,0,0,3",
        "1,2,0,0,0,yes,0,0,0,3",
        "1,2,0,0,0,0,0,0,0,6",
        "1,2,0,0,0,0,0,0,0,",
        "1,2,0,0,0,0,0,0,0,III",
        ",2,0,0,0,0,0,0,0,3",
        "1,2,0,0,0,0,0,0,3",
        "1,2,0,0,0,0,0,0,0,3,9",
        '1,2,"0,0,0,0,0,0,0,3',
        "1,1,0,0,0,0,0,0,0,5",
        "",
        ",,,,,,,,,",
        "1,3,0,0,0,0,0,0,0,3",
    )

    no_disc = "is no disc: 1 is L5/S1, 2 is L4/5, up to 17 for T1/2."
    assert rejected(report) == [
        (3, f"IVD label 0 {no_disc}"),
        (4, f"IVD label 18 {no_disc}"),
        (5, f"IVD label (empty) {no_disc}"),
        (6, "IVD label 2.5 is not a whole number."),
        (7, "Modic type 4 is not one of 0 to 3."),
        (8, "UP endplate 2 is neither 0 nor 1."),
        (9, "Spondylolisthesis yes is not a whole number."),
        (10, "Pfirrmann grade 6 is not one of 1 to 5."),
        (11, "Pfirrmann grade (empty) is not one of 1 to 5."),
        (12, "Pfirrman grade III is not a whole number."),
        (13, "No patient number."),
        (14, "Has 9 columns; the header has 10."),
        (15, "Has 11 columns; the header has 10."),
        (16, "Not a row of a table: unexpected end of data."),
        (17, "Repeats disc L5/S1 of patient 1 in line 2; the first was kept."),
    ]
    assert counted(report) == (17, 2, 0, 0, 15)
    assert list(DiscReading.objects.values_list("level", "grade")) == [("L5/S1", 3), ("L3/4", 3)]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + f"{HEADER}\r\n7,2,0,0,0,0,0,0,0,4\r\n\r\n".encode(),
        f"{HEADER}\n7,2,0,0,0,0,0,0,0,4".encode("utf-16"),
        f"{HEADER}\n7,2,0,0,0,0,0,0,0,4".replace(",", ";").encode(),
        f"{HEADER}\n7,2,0,0,0,0,0,0,0,4".replace(",", "\t").encode(),
        f'"{HEADER}"\n7.0,2.0,0.0,0,0,0,0,0,0,4.0'.replace(",", '","', 9).encode(),
        f"{HEADER.upper().replace('PFIRRMAN', ' pfirrmann ')}\n 7 , 2 ,0,0,0,0,0,0,0,4,,".encode(),
        b"pfirrmann_grade,ivd_label,patient\n4,2,7",
    ],
    ids=["BOM and CRLF", "UTF-16", "semicolons", "tabs", "quotes and decimals", "spelling", "fewer columns, any order"],
)
def test_it_does_not_matter_what_wrote_the_file(bring_in, content):
    report = bring_in(content=content)

    assert counted(report) == (1, 1, 0, 0, 0)
    assert DiscReading.objects.values_list("study__identifier", "level", "grade").get() == ("7", "L4/5", 4)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"Patient,IVD label\n1,1", f"Columns missing: Pfirrman grade. Expected are: {HEADER.replace(',', ', ')}."),
        (
            b'{"resourceType": "Patient"}',
            f"Columns missing: Patient, IVD label, Pfirrman grade. Expected are: {HEADER.replace(',', ', ')}.",
        ),
        (b"Patient,patient,IVD label,Pfirrman grade\n", "The file has more than one column Patient."),
        (
            b"Pati\xebnt,IVD label\n1,1",
            "The file does not begin with the header of a CSV table. Not UTF-8 text. Save the file as UTF-8.",
        ),
        (
            b'"Patient\n1,1',
            "The file does not begin with the header of a CSV table. Not a row of a table: unexpected end of data.",
        ),
    ],
)
def test_a_file_that_is_something_else_is_refused_as_a_whole(bring_in, content, sentence):
    with pytest.raises(FileRefused) as refusal:
        bring_in(content=content)

    assert str(refusal.value) == sentence


def test_the_same_file_again_changes_nothing_and_a_newer_one_corrects(bring_in):
    bring_in("7,1,0,0,0,0,0,0,0,3", "7,2,0,0,0,0,0,0,0,4")

    assert counted(bring_in("7,1,0,0,0,0,0,0,0,3", "7,2,0,0,0,0,0,0,0,4")) == (2, 0, 0, 2, 0)
    assert counted(bring_in("7,2,1,0,0,0,0,0,0,5", "7,3,0,0,0,0,0,0,0,2")) == (2, 1, 1, 0, 0)
    assert list(MriStudy.objects.get().discs.order_by("level").values_list("level", "grade", "modic")) == [
        ("L3/4", 2, 0),
        ("L4/5", 5, 1),
        ("L5/S1", 3, 0),
    ]


def test_a_study_belongs_to_the_patient_whose_record_number_it_bears(bring_in, site, other_site, at):
    ours = walk.register(site, at=at, mrn="7")
    walk.register(other_site, at=at, mrn="8")

    report = bring_in("7,1,,,,,,,,3", "8,1,,,,,,,,3")

    assert report.unassigned == 1
    assert list(MriStudy.objects.order_by("identifier").values_list("identifier", "patient")) == [
        ("7", ours.pk),
        ("8", None),
    ]


def test_nobody_is_guessed_when_two_patients_bear_the_number(bring_in, site, at):
    walk.register(site, at=at, mrn="7", mrn_system="urn:a")
    walk.register(site, at=at, mrn="7", mrn_system="urn:b")

    assert bring_in("7,1,,,,,,,,3").unassigned == 1


@pytest.fixture
def three_imported(site, at):
    """Three patients as an import leaves them: with their places in the file."""
    people = [walk.register(site, at=at, mrn=f"M{place}") for place in (1, 2, 3)]
    for place, person in enumerate(people, start=1):
        person.import_order = place
        person.save()
    return people


def paired():
    return list(MriStudy.objects.order_by("identifier").values_list("identifier", "patient__mrn"))


ROWS = ("30,1,,,,,,,,3", "20,0,,,,,,,,3", "10,1,,,,,,,,3", "30,2,,,,,,,,3")


def test_in_order_the_nth_number_is_the_nth_patient_even_after_a_number_without_a_good_row(bring_in, three_imported):
    report = bring_in(*ROWS, pair_in_order=True)

    assert (report.unassigned, paired()) == (0, [("10", "M3"), ("30", "M1")])


def test_nobody_is_paired_in_order_without_being_asked_to(bring_in, three_imported):
    report = bring_in(*ROWS)
    assert (report.unassigned, paired()) == (2, [("10", None), ("30", None)])

    again = bring_in(*ROWS, pair_in_order=True)
    assert (counted(again), again.unassigned, paired()) == ((4, 0, 0, 3, 1), 0, [("10", "M3"), ("30", "M1")])


def test_more_numbers_than_patients_leave_the_rest_waiting(bring_in, three_imported):
    report = bring_in(*(f"{number},1,,,,,,,,3" for number in range(20, 25)), pair_in_order=True)

    assert (report.studies, report.unassigned) == (5, 2)


def test_an_import_never_gives_a_study_to_another_patient(bring_in, three_imported):
    bring_in("30,1,,,,,,,,3", pair_in_order=True)

    bring_in("20,1,,,,,,,,3", "30,1,,,,,,,,3", pair_in_order=True)

    assert paired() == [("20", "M1"), ("30", "M1")]


def test_the_day_of_the_mris_may_be_given(bring_in):
    bring_in("7,1,,,,,,,,3", acquired_on=date(2026, 4, 30))
    bring_in("7,1,,,,,,,,3")

    assert MriStudy.objects.get().acquired_on == date(2026, 4, 30)
    with pytest.raises(FileRefused) as refusal:
        bring_in("7,1,,,,,,,,3", acquired_on=date(2026, 5, 5))
    assert str(refusal.value) == "The day of the MRI lies in the future."


def test_a_reading_that_a_signed_verdict_rests_on_is_not_changed_under_it(bring_in, site, at):
    protocols.load_all(at=at)
    verdict = walk.sign(walk.register(site, at=at), at=at)
    number = verdict.evaluation.mri.identifier

    report = bring_in(f"{number},2,0,,,0,,,,5", f"{number},5,0,,,0,,,,1")

    reason = "Differs from the reading of L4/5 that a signed verdict rests on. Withdraw the verdict first."
    assert rejected(report) == [(2, reason)]
    assert counted(report) == (2, 1, 0, 0, 1)
    assert verdict.evaluation.mri.discs.get(level="L4/5").grade == 4


def test_an_import_that_is_interrupted_leaves_whole_studies(bring_in):
    def stop_after_the_first(done, _total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring_in("7,1,,,,,,,,3", "8,1,,,,,,,,3", "7,2,,,,,,,,3", progress=stop_after_the_first)

    assert list(DiscReading.objects.values_list("study__identifier", "level")) == [("7", "L5/S1"), ("7", "L4/5")]
    assert MriStudy.objects.count() == 1


cells = st.sampled_from(["", "0", "1", "2", "17", "18", "-1", "1.0", "x", '"', "٣", "1e9", "\x00", "9" * 30])
odd_rows = st.lists(cells, max_size=11).map(lambda row: ",".join(row).encode()) | st.binary(min_size=1, max_size=20)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(odd_rows, max_size=6))
def test_whatever_a_file_holds_no_row_is_lost_and_nothing_breaks(bring_in, rows):
    report = bring_in(content=b"\n".join([HEADER.encode(), b"1,1,0,0,0,0,0,0,0,3", *rows]))

    assert report.read == report.created + report.updated + report.unchanged + len(report.rejects)
    assert [report.created + report.unchanged + report.updated > 0, report.studies > 0] == [True, True]


def test_the_command_tells_what_became_of_each_row_and_what_to_do_next(site, tmp_path, capsys):
    path = tmp_path / "discs.csv"
    path.write_text("\n".join([HEADER, *ROWS]))

    call_command("import_mri", str(path))

    assert capsys.readouterr().out.splitlines() == [
        "Rejected:",
        "  line 3: IVD label 0 is no disc: 1 is L5/S1, 2 is L4/5, up to 17 for T1/2.",
        "Discs: 4 read, 3 new, 0 changed, 0 unchanged, 1 rejected.",
        "MRI studies: 2, of which 2 wait for a patient.",
        "No patient here has their number as record number, and nobody is guessed. Assign them in the admin under MRI"
        " studies. If",
        "this file lists them in the order of the patients' file, run the command again with --pair-in-order.",
    ]


def test_the_command_fails_in_one_sentence_when_nothing_can_be_kept(site, tmp_path):
    path = tmp_path / "discs.csv"
    path.write_text(f"{HEADER}\n1,0,,,,,,,,3")

    with pytest.raises(CommandError) as refusal:
        call_command("import_mri", str(path))

    assert (str(refusal.value), refusal.value.returncode) == ("Nothing in the file could be kept.", 1)


@pytest.mark.slow
def test_the_1042_gradings_come_in_but_for_the_one_that_is_no_disc(bring_in):
    report = bring_in(content=real_file("spider_gradings.csv").read_bytes())

    assert rejected(report) == [(597, "IVD label 0 is no disc: 1 is L5/S1, 2 is L4/5, up to 17 for T1/2.")]
    assert (counted(report), report.studies) == ((1042, 1041, 0, 0, 1), 149)
    grades = Counter(DiscReading.objects.values_list("grade", flat=True))
    assert grades == {1: 211, 2: 200, 3: 286, 4: 224, 5: 120}
    assert DiscReading.objects.filter(level="L5/S1").count() == 149
