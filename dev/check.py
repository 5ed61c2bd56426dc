"""`make check`: every check there is, all of them run, all failures shown at the end, one exit code.

Runs inside `python -m dev.services run`, because some checks look at the database.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path

from dev import PROJECT, environment

APPS = ("clinic", "scheduling", "followup")
STATES = PROJECT / "docs" / "states.md"


@dataclass(frozen=True)
class Outcome:
    name: str
    failure: str  # empty: passed
    seconds: float


def command(*words: str, env: dict[str, str] | None = None) -> str:
    """What it said, if it failed; nothing if it passed."""
    done = ran(*words, env=env)
    return "" if done.returncode == 0 else f"$ {' '.join(words)}\n{done.stdout}{done.stderr}"


def ran(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool(words[0]), *words[1:]],
        cwd=PROJECT,
        env=os.environ | (env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def tool(name: str) -> str:
    """Ours out of the virtual environment; else whatever the machine has."""
    if name == "python":
        return sys.executable
    ours = Path(sys.executable).parent / name
    return str(ours) if ours.exists() else name


def states() -> str:
    """docs/states.md is drawn from the tables of legal moves."""
    drawn = ran("python", "manage.py", "draw_states")
    if drawn.returncode:
        return f"$ manage.py draw_states\n{drawn.stdout}{drawn.stderr}"
    kept = STATES.read_text() if STATES.exists() else ""
    if kept == drawn.stdout:
        return ""
    difference = unified_diff(kept.splitlines(), drawn.stdout.splitlines(), "docs/states.md", "drawn now", lineterm="")
    return "docs/states.md is not what the code says; `make states` draws it again.\n" + "\n".join(difference)


def compose() -> str:
    """With docker-compose where there is one; else against the schema of the compose specification."""
    # The file asks for these instead of having defaults. They are an example's, never a clinic's.
    example = environment.production() | {"POSTGRES_PASSWORD": "example", "VALKEY_PASSWORD": "example"}
    if shutil.which("docker-compose"):
        return command("docker-compose", "config", "-q", env=example)
    if shutil.which("docker") and ran("docker", "compose", "version").returncode == 0:
        return command("docker", "compose", "config", "-q", env=example)
    return command("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")


CHECKS = {
    "types": lambda: command("mypy", *APPS),
    "migrations complete": lambda: command("python", "manage.py", "makemigrations", "--check", "--dry-run"),
    "ready to deploy": lambda: command(
        *("python", "manage.py", "check", "--deploy", "--fail-level", "WARNING"), env=environment.production()
    ),
    "states drawn": states,
    "import contracts": lambda: command("lint-imports"),
    "compose file": compose,
    "lint": lambda: command("ruff", "check"),
    "format": lambda: command("ruff", "format", "--check"),
}


def timed(name: str) -> Outcome:
    start = time.monotonic()
    try:
        failure = CHECKS[name]()
    except OSError as problem:
        failure = str(problem)
    outcome = Outcome(name, failure, time.monotonic() - start)
    print(f"  {'FAILED' if failure else 'ok':<8}{name:<22}{outcome.seconds:5.1f} s", flush=True)
    return outcome


def main() -> int:
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        outcomes = list(pool.map(timed, CHECKS))
    failures = [outcome for outcome in outcomes if outcome.failure]
    for outcome in failures:
        print(f"\n--- {outcome.name} " + "-" * 60 + f"\n{outcome.failure.strip()}")
    print(f"\n{len(outcomes) - len(failures)} of {len(outcomes)} checks passed.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
