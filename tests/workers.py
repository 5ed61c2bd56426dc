"""Tests run in several processes at once (pytest-xdist). pytest-django gives each a PostgreSQL database, and this a
Valkey database, before Django reads its settings."""

import os

if worker := os.environ.get("PYTEST_XDIST_WORKER"):  # gw0, gw1, ...
    server, _, first = os.environ["REDIS_URL"].rpartition("/")
    os.environ["REDIS_URL"] = f"{server}/{int(first) + int(worker.removeprefix('gw'))}"
