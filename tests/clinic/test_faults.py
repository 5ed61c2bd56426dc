import os
import subprocess
import sys
from pathlib import Path

import pytest

from clinic import faults

PROJECT = Path(__file__).resolve().parents[2]


def test_a_named_place_does_nothing_unless_it_was_asked_for(settings):
    settings.FAULT_POINTS = {"messages.checked": "raise"}

    faults.point("messages.rendered")
    with pytest.raises(faults.OnPurpose):
        faults.point("messages.checked")


@pytest.mark.slow
@pytest.mark.parametrize("asked", [{"FAULT_POINTS": "messages.checked=kill"}, {"SINK_LEDGER": "mail.ledger"}])
@pytest.mark.parametrize(("demo", "starts"), [("0", False), ("1", True)])
def test_a_clinic_with_patients_does_not_start_with_what_is_for_tests(asked, demo, starts):
    env = os.environ | {"DEMO": demo, "DEBUG": "0"} | asked

    done = subprocess.run(
        [sys.executable, "-c", "import clinic.settings"],
        env=env,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode == 0) == starts
    assert ("FAULT_POINTS and SINK_LEDGER are for tests and the demo" in done.stderr) == (not starts)
