"""The service as a clinic runs it, for as long as a bench needs it: gunicorn on this machine, and clients that talk to
it over sockets."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any
from urllib.parse import urlencode, urlsplit

from django.db import connection

PROJECT = Path(__file__).parents[1]
PATIENCE = 60  # seconds; nothing here waits longer for an answer


def same_database() -> dict[str, str]:
    """The environment of a process that is to use the very database that we use."""
    database = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}")
    return os.environ | {"DATABASE_URL": database.geturl()}


@contextmanager
def gunicorn(*, workers: int = 2, threads: int = 4) -> Iterator[int]:
    """Yields the port of a running service; it is gone afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--log-level", "warning"]
    command += ["--workers", str(workers), "--threads", str(threads)]
    # A client that waits for the others of its round longer than the two seconds a server keeps a line open by itself
    # would find it closed, and lose without having asked.
    command += ["--keep-alive", "75"]
    with TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=PROJECT, env=same_database(), stdout=log, stderr=log)
        try:
            wait_for_it(port, process)
            yield port
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            tell_troubles(log)


def tell_troubles(log: IO[str]) -> None:
    """What the server wrote, from its first error on. That it refuses is what it is asked for, and not told."""
    log.seek(0)
    lines = [line for line in log if "WARNING" not in line]
    first = next((place for place, line in enumerate(lines) if "ERROR" in line or "Traceback" in line), len(lines))
    sys.stderr.writelines(lines[first : first + 100])


def wait_for_it(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("The web server did not start.")


class Client:
    """A program that books: one connection, and a few tokens in turn, so that no one token asks too often."""

    def __init__(self, port: int, tokens: list[str]) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self.tokens = cycle(tokens)
        self.token = next(self.tokens)

    def take_turns(self) -> None:
        self.token = next(self.tokens)

    def get(self, path: str, **query: str) -> tuple[int, Any]:
        return self.ask("GET", f"{path}/?{urlencode(query)}")

    def post(self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> tuple[int, Any]:
        return self.ask("POST", f"{path}/", body, headers)

    def ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"} | (headers or {})
        try:
            self.connection.request(method, f"/api/v1/{path}", None if body is None else json.dumps(body), sent)
            answer = self.connection.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")
        except (OSError, http.client.HTTPException, ValueError) as failed:
            self.connection.close()
            return 0, {"code": type(failed).__name__}

    def close(self) -> None:
        self.connection.close()
