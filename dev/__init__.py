"""The set-up room: what `make` runs on a developer's machine. Production never imports it."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
VAR = PROJECT / "var"
