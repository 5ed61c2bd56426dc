"""Every named place between the open line and the settled row, hit in every way by which a worker can end, again and
again: each time the patient must get one mail. On a database of its own, on servers that nobody else uses."""

import os
import subprocess
import sys
from importlib import import_module
from typing import Any

import django

from bench.faults import service
from dev import PROJECT
from dev.environment import throwaway

LEASE = 8  # seconds; on a machine that is busy with 28 processes half of it must be enough to begin to send
NOT_REACHED = "the place was not reached"  # nothing was wrong, and nothing was tried


def run(times: int) -> dict[str, Any]:
    with service.own_servers() as (_, instance):
        urls = {"DATABASE_URL": instance.database_url(service.DATABASE), "REDIS_URL": instance.redis_url(0)}
        os.environ.update(throwaway() | urls, DJANGO_SETTINGS_MODULE="clinic.settings")
        subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=PROJECT, check=True)
        django.setup()  # now that the settings can be read
        cells = import_module("tests.crash_matrix")
        cells.LEASE = LEASE
        found = cells.tried(times=times)
    for what, often in found["wrong"].items():
        print(f"matrix: {what}, {often} times", flush=True)
    missed = sum(often for what, often in found["wrong"].items() if what.endswith(NOT_REACHED))
    return {
        "matrix_cells": found["cells"] * times - missed,
        "matrix_wrong": sum(found["wrong"].values()) - missed,
        "matrix_not_reached": missed,
    }
