"""A rehearsal of one month on small files full of surprises, in a process and a scratch database of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

from followup import events
from followup.demo import walk
from followup.models import Answer, FollowUpEvent
from followup.models.event import EventKind
from followup.rehearsal import report
from scheduling.models import Episode

PROJECT = Path(__file__).resolve().parents[2]
HEADER = (
    "Patient,IVD label,Modic,UP endplate,LOW endplate,Spondylolisthesis,"
    "Disc herniation,Disc narrowing,Disc bulging,Pfirrman grade"
)


def fhir(number, **changes):
    patient = {
        "resourceType": "Patient",
        "id": f"p{number}",
        "identifier": [{"type": {"coding": [{"code": "MR"}]}, "system": "urn:x", "value": f"M{number}"}],
        "name": [{"family": f"Família {number}", "given": ["Ana"]}],
        "telecom": [{"system": "email", "value": f"p{number}@example.org"}],
        "birthDate": "1975-04-0" + str(1 + number % 9),
        "gender": "male",
    }
    return json.dumps({**patient, **changes}, ensure_ascii=False)


def patients_file(folder):
    rows = [fhir(number) for number in range(1, 9)]
    rows.insert(2, fhir(1))  # line 3 repeats line 1
    rows += [fhir(10, name=[]), fhir(11, birthDate="1975-02-31"), fhir(12, deceasedBoolean=True), "{not json"]
    path = folder / "patients.ndjson"
    path.write_bytes("\ufeff".encode() + "\r\n".join(rows).encode())
    return path


def mri_file(folder):
    rows = [f"{number},{label},0,0,0,0,0,0,1,{4 if label < 3 else 2}" for number in range(1, 9) for label in (1, 2, 3)]
    rows.insert(3, "2,0,0,0,0,0,0,0,0,3")
    path = folder / "gradings.csv"
    path.write_bytes("\r\n".join([HEADER, *rows]).encode())
    return path


@pytest.mark.slow
def test_a_clinic_is_rehearsed_on_files_with_surprises_and_no_rule_breaks(db, tmp_path):
    figures_path = tmp_path / "figures.json"
    asked = [
        "--patients",
        patients_file(tmp_path),
        "--mri",
        mri_file(tmp_path),
        "--months",
        "2",
        "--json",
        figures_path,
    ]
    settings = connection.settings_dict
    server = f"{settings['USER']}:{settings['PASSWORD']}@{settings['HOST']}:{settings['PORT']}"
    environment = os.environ | {"DATABASE_URL": f"postgres://{server}/{settings['NAME']}", "COLUMNS": "200"}

    rehearsal = subprocess.run(
        [sys.executable, "manage.py", "rehearse", *asked],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert rehearsal.returncode == 0, rehearsal.stdout + rehearsal.stderr
    figures = json.loads(figures_path.read_text(encoding="utf-8"))
    assert (figures["rows"]["read"], figures["rows"]["rejected"]) == (13 + 25, 5)
    assert [reason.split(":")[0] for reason in figures["rows"]["files"]["patients.ndjson"]["reasons"]] == [
        "line 3",
        "line 10",
        "line 11",
        "line 13",
    ]
    assert [reason.split(":")[0] for reason in figures["rows"]["files"]["gradings.csv"]["reasons"]] == ["line 5"]
    assert figures["deceased"] == 1
    assert figures["referred"] == 8
    assert figures["eligible"] + figures["not_eligible"] == figures["evaluated"]
    assert figures["injected"] >= 1
    assert set(figures["invariants"].values()) == {0}
    assert figures["invariants"]["time_points_that_do_not_add_up"] == 0
    points = [row for name in ("surveys", "symptom_checks") for row in figures[name].values()]
    parts = ("answered", "by_phone", "missed", "open", "voided")
    assert [row for row in points if row["expected"] != sum(row[part] for part in parts)] == []
    assert points


def test_a_missing_file_is_a_sentence_not_a_traceback(tmp_path):
    rehearsal = subprocess.run(
        [sys.executable, "manage.py", "rehearse", "--patients", tmp_path / "none", "--mri", tmp_path / "none"],
        cwd=PROJECT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert rehearsal.returncode == 1
    assert rehearsal.stderr.strip().endswith("is not a file.")
    assert "Traceback" not in rehearsal.stderr


@pytest.mark.slow
def test_the_numbers_of_every_time_point_add_up(booked, inject, site, at):
    """One of each: answered, by phone, on paper, waived, missed, open, voided."""
    cancelled = walk.book(walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at), at=at).episode
    events.open_due(at=at)
    episode = inject(booked)
    Episode.objects.filter(pk=cancelled.pk).update(anchor_at=None)
    events.open_due(at=at)
    for code, mode in (("day-1", "self"), ("day-3", "phone"), ("day-7", "paper")):
        event = FollowUpEvent.objects.with_dates().get(episode=episode, code=code)
        walk.follow_up(event, vas=30, at=walk.at_noon(event.due_on), mode=mode)
    for code in ("day-14", "mri-month-6"):
        waived = FollowUpEvent.objects.get(episode=episode, code=code)
        events.waive(waived, reason="Abroad", by="clinician", at=at)
    now = walk.at_noon(FollowUpEvent.objects.with_dates().get(episode=episode, code="day-28").due_on)
    events.miss_overdue(at=now)

    checks = report.time_points(EventKind.SYMPTOM_CHECK, now=now)
    scans = report.mri_time_points(now=now)
    sums = report.wrong_sums(checks, scans)
    Answer.objects.filter(response__event__episode=episode, response__event__code="day-1").delete()
    FollowUpEvent.objects.get(episode=episode, code="day-1").responses.all().delete()
    broken = report.wrong_sums(report.time_points(EventKind.SYMPTOM_CHECK, now=now))

    none = {"answered": 0, "by_phone": 0, "missed": 0, "open": 0, "voided": 1, "waived": 0}
    assert checks == {
        "day-1": none | {"expected": 2, "answered": 1},
        "day-3": none | {"expected": 2, "by_phone": 1},
        "day-7": none | {"expected": 2, "answered": 1},
        "day-14": none | {"expected": 1, "waived": 1},
        "day-21": none | {"expected": 2, "missed": 1},
        "day-28": none | {"expected": 2, "open": 1},
    }
    assert scans["mri-month-6"] == {
        "expected": 1,
        "done_in_window": 0,
        "done_outside_window": 0,
        "missed": 0,
        "open": 0,
        "voided": 1,
        "waived": 1,
    }
    assert (sums, broken) == (0, 1)
