"""The service behind a real gunicorn, asked over one connection as another system would."""

import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import perf_counter, sleep

from bench._clinic import Clinic
from clinic import links


@contextmanager
def served() -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "clinic.wsgi", "--bind", f"127.0.0.1:{port}", "--workers", "1"]
    options = ["--worker-class", "gthread", "--threads", "2", "--keep-alive", "60", "--log-level", "error"]
    server = subprocess.Popen([*command, *options], env=os.environ)
    try:
        yield port
    finally:
        server.terminate()
        server.wait()


def times(clinic: Clinic, asked: str, *, requests: int) -> list[float]:
    """The milliseconds of each request for slots, after a few that do not count."""
    _, secret = links.issue_token(
        clinic.site, name="Bench", may_write=False, expires_at=clinic.at + timedelta(days=1), at=clinic.at
    )
    address = f"/api/v1/episodes/{clinic.episode.pk}/slots/?visit=procedure&{asked}"
    with served() as port:
        connection = connected(port)
        taken = []
        for _ in range(requests + 10):
            start = perf_counter()
            connection.request("GET", address, headers={"Authorization": f"Bearer {secret}"})
            answer = connection.getresponse()
            body = answer.read()
            taken.append((perf_counter() - start) * 1000)
            assert answer.status == 200, body
        assert body.count(b'"reason"') > 0, "there must be times to offer"
        connection.close()
    return taken[10:]


def connected(port: int) -> http.client.HTTPConnection:
    for _ in range(300):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.connect()
            return connection
        except OSError:
            sleep(0.1)
    raise TimeoutError("gunicorn did not start")
