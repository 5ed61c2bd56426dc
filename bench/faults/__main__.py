"""`make faults`: the run, the crash matrix and the same run against plain Celery; figures into bench/results.json, and
an exit code that says whether a rule broke.

    make faults ARGS="--due 600 --kills 20 --seconds 90 --no-matrix --no-rival --seed 7"
"""

import argparse
import json
import os
import random
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import django

from bench.faults import matrix, service
from bench.faults.service import Pace
from dev.processes import Stopped, on_stop_signals, stop_on_signal

RESULTS = Path(__file__).parents[1] / "results.json"
MUST_BE_ZERO = (
    *("lost", "doubled", "sent_after_cancel", "early", "unexpected"),
    *("matrix_wrong", "matrix_not_reached", "names_in_logs"),
)


def asked(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--due", type=int, default=5200, help="how many messages fall due, at least")
    parser.add_argument("--kills", type=int, default=204, help="how often a worker is killed; the rest follows from it")
    parser.add_argument("--seconds", type=float, default=720, help="for how long there is trouble")
    parser.add_argument("--drain", type=float, default=240, help="how long at most to wait for what is still due then")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--drop-before", type=float, default=0.01, help="share of mails at which the line is cut")
    parser.add_argument("--drop-after", type=float, default=0.01)
    parser.add_argument("--delay-ms", type=int, default=40, help="how long the mail server takes for each mail")
    parser.add_argument("--lease", type=int, default=Pace.lease, help="seconds until a claim runs out")
    parser.add_argument("--sweep", type=int, default=Pace.sweep, help="seconds between two sweeps")
    parser.add_argument("--repeats", type=int, default=20, help="how often each cell of the crash matrix is tried")
    parser.add_argument("--no-matrix", action="store_true")
    parser.add_argument("--no-rival", action="store_true")
    parser.add_argument(
        "--rival-seconds", type=float, help="for how long the rival has trouble; a third of ours otherwise"
    )
    parser.add_argument("--kills-only", action="store_true", help="the rival once more, with no trouble but the kills")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args(arguments)


def main() -> int:
    options = asked()
    on_stop_signals(stop_on_signal)  # so that everything that was started is ended
    print(f"seed {options.seed}", flush=True)
    try:
        figures = {"faults": ours(options)}
        if not options.no_matrix:
            figures["faults"] |= matrix.run(options.repeats)
        if not options.no_rival:
            figures["celery_eta"] = theirs(options)
        if options.kills_only:
            figures["celery_eta_kills_only"] = theirs(options, kills_only=True)
    except Stopped:
        return 130
    record(options.results, figures)
    print(json.dumps(figures, indent=2, sort_keys=True))
    broken = [rule for rule in MUST_BE_ZERO if figures["faults"].get(rule)]
    print(f"Broken: {', '.join(broken)}" if broken else "No rule was broken.")
    return 1 if broken else 0


def ours(options: argparse.Namespace) -> dict[str, Any]:
    start = time.monotonic()
    with service.own_servers() as (folder, instance), service.mail_server(folder, manners(options)) as mail:
        pace = Pace(options.lease, options.sweep)
        env = service.environment(folder, instance, pace=pace, mail_port=mail.port)
        os.environ.update(env, DJANGO_SETTINGS_MODULE="clinic.settings")
        django.setup()
        run = import_module("bench.faults.ours")
        wanted = run.Wanted(options.due, options.kills, options.seconds, options.drain, options.seed, pace)
        figures: dict[str, Any] = run.run(wanted, folder=folder, instance=instance, mail=mail, env=env)
    return figures | {"seconds": round(time.monotonic() - start)}


def theirs(options: argparse.Namespace, *, kills_only: bool = False) -> dict[str, Any]:
    start, seconds = time.monotonic(), options.rival_seconds or options.seconds / 3
    with service.own_servers() as (folder, instance), service.mail_server(folder, manners(options)) as mail:
        rival = import_module("bench.faults.rival_run")
        wanted = rival.Wanted(options.due, options.kills, seconds, options.seed, options.lease, kills_only)
        figures: dict[str, Any] = rival.run(wanted, folder=folder, instance=instance, mail=mail)
    return figures | {"seconds": round(time.monotonic() - start)}


def manners(options: argparse.Namespace) -> list[str]:
    given = {name: getattr(options, name) for name in ("drop_before", "drop_after", "delay_ms", "seed")}
    given["idle_timeout"] = Pace(options.lease).idle_timeout
    return [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def record(file: Path, figures: dict[str, Any]) -> None:
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps(known | figures, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
