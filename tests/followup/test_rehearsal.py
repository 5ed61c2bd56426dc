"""A rehearsal of one month on small files full of surprises, in a process and a scratch database of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

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
