"""Real files to try the software on. They lie beside the project, never in it; a test that needs one is skipped
without it."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data"


def real_file(name):
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"{name} is not here; put it into {FOLDER} to run this test.")
    return path
