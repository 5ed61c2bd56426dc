"""The short form of `make faults`, on servers of its own because it kills them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
SHORT = {"due": 160, "kills": 6, "seconds": 12, "lease": 6, "sweep": 1, "drain": 120, "seed": 3}
MUST_BE_ZERO = ("lost", "doubled", "early", "sent_after_cancel", "unexpected", "names_in_logs")


def test_every_patient_hears_everything_once_whatever_breaks(tmp_path):
    options = [word for name, value in SHORT.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "bench.faults", "--no-matrix", "--no-rival", *options]
    with (tmp_path / "log").open("wb") as log:
        run = subprocess.Popen(
            [*command, "--results", tmp_path / "results.json"], cwd=PROJECT, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            code = run.wait(500)
        finally:
            run.terminate()  # it ends what it has started
            run.wait()

    assert code == 0, (tmp_path / "log").read_text()
    figures = json.loads((tmp_path / "results.json").read_text())["faults"]
    assert {rule: figures[rule] for rule in MUST_BE_ZERO} == dict.fromkeys(MUST_BE_ZERO, 0)
    assert (figures["kills"], figures["broker_losses"], figures["database_losses"]) == (6, 2, 1)
    assert figures["due"] >= 120  # what was called off in time is not counted
