"""Web, worker and beat stand and fall together."""

import sys
import time

import psutil

from dev import processes
from dev.processes import Together

SLEEPS = (sys.executable, "-c", "import time; time.sleep(60)")
DEAF = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)",
)


def test_the_first_to_die_is_named_even_when_it_ends_well(tmp_path):
    with Together({}, tmp_path) as together:
        together.start("web", *SLEEPS)
        together.start("beat", sys.executable, "-c", "print('bye')")

        child = together.wait()

    assert (child.name, child.process.returncode) == ("beat", 0)
    assert child.log.read_text() == "bye\n"


def test_leaving_ends_everyone(tmp_path):
    with Together({}, tmp_path) as together:
        ids = [together.start(name, *SLEEPS).process.pid for name in ("web", "worker")]

    assert not any(psutil.pid_exists(pid) for pid in ids)


def test_who_does_not_hear_is_killed_after_the_grace(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.3)

    with Together({}, tmp_path) as together:
        child = together.start("worker", *DEAF)
        while not child.log.read_text():
            time.sleep(0.02)

    assert child.process.returncode == -9
    assert "worker did not stop within 0.3 s and was killed." in capsys.readouterr().err
