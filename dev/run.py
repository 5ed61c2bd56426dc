"""`make run`: web, worker, beat and stand-in against servers of your own, as named by the environment or by .env.

Nothing is migrated or seeded; docs/running.md says what a new database needs.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import environ

from dev import PROJECT
from dev.processes import Stopped, Together, on_stop_signals, service_commands, stop_on_signal

REQUIRED = ("DATABASE_URL", "REDIS_URL", "EMAIL_URL")


def main() -> int:
    if (PROJECT / ".env").exists():
        environ.Env.read_env(PROJECT / ".env")  # what the environment has already, stays
    if missing := [name for name in REQUIRED if not os.environ.get(name)]:
        print(
            f"make run: set {', '.join(missing)} in the environment or in .env (see .env.example). "
            "`make demo` needs none of them.",
            file=sys.stderr,
        )
        return 2
    on_stop_signals(stop_on_signal)
    bind = f"{os.environ.get('HOST') or '127.0.0.1'}:{os.environ.get('PORT') or '8000'}"
    try:
        with tempfile.TemporaryDirectory() as state, Together({}) as together:
            for name, command in service_commands(bind, Path(state)).items():
                together.start(name, *command)
            print(f"http://{bind}/  Ctrl-C stops web, worker, beat and stand-in.", flush=True)
            child = together.wait()
            print(f"make run: {child.name} ended by itself (exit {child.process.returncode}).", file=sys.stderr)
    except Stopped:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
