"""`make bench [ONLY=name]`: time what should be fast beside what a user would pick instead, in one run; print one table
and merge the figures into bench/results.json, an object per bench. Nothing here is asserted: tests are not timed."""

import argparse
import json
import os
import platform
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import django
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).with_name("results.json")


def names() -> list[str]:
    """Every module of this package is a bench, with a `run()` that returns name -> figure. Packages are not."""
    modules = iter_modules([str(RESULTS.parent)])
    return sorted(module.name for module in modules if not (module.ispkg or module.name.startswith("_")))


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", choices=names(), help="Run one bench.")
    parser.add_argument("--long", action="store_true", help="Also what takes many minutes.")
    options = parser.parse_args()
    only = options.only
    os.environ["BENCH_LONG"] = "1" if options.long else ""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clinic.settings")
    django.setup()
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    table = Table("bench", "figure", "value")
    for name in [only] if only else names():
        figures = import_module(f"bench.{name}").run()
        results[name] = figures | {"python": platform.python_version(), "cores": os.cpu_count()}
        for figure, value in figures.items():
            table.add_row(name, figure, f"{value:,.3f}" if isinstance(value, float) else str(value))
    RESULTS.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    Console().print(table)


if __name__ == "__main__":
    main()
