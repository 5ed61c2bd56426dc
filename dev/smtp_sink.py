"""A mail server that delivers nothing: every mail lands in a Maildir, and a ledger says so.

    python -m dev.smtp_sink --maildir DIR --ledger FILE [--port 0] [--port-file FILE]

The ledger is what a relay's log is in production: one line per accepted mail, `time<TAB>Message-ID<TAB>envelope-to`,
on disk before the client hears "250 OK". The demo's inbox page reads the Maildir; tests count the ledger.
"""

from __future__ import annotations

import argparse
import contextlib
import mailbox
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


class Delivery:
    """aiosmtpd's handler: it calls handle_DATA for each mail."""

    def __init__(self, maildir: Path, ledger: Path):
        maildir.parent.mkdir(parents=True, exist_ok=True)
        ledger.parent.mkdir(parents=True, exist_ok=True)
        self.maildir = mailbox.Maildir(maildir, create=True)
        self.ledger = ledger

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.original_content or b""
        mail = message_from_bytes(content)
        recipients = ",".join(envelope.rcpt_tos)
        # Whom the envelope named, kept as mail servers keep it: a Bcc is in no other header.
        kept = f"Delivered-To: {recipients}\n".encode() + content.replace(b"\r\n", b"\n")
        self.maildir.add(kept)  # written under tmp/, synced, then renamed into new/
        message_id = " ".join(str(mail["Message-ID"] or "").split())
        line = f"{datetime.now(UTC).isoformat()}\t{message_id}\t{recipients}\n"
        with self.ledger.open("a") as ledger:
            ledger.write(line)
            ledger.flush()
            os.fsync(ledger.fileno())
        return "250 OK"


@dataclass(frozen=True)
class Sink:
    port: int
    maildir: Path
    ledger: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def lines(self) -> list[tuple[str, str, str]]:
        """What was accepted so far: (time, Message-ID, envelope-to)."""
        if not self.ledger.exists():
            return []
        words = (line.split("\t") for line in self.ledger.read_text().splitlines())
        return [(when, message_id, to) for when, message_id, to in words]


@contextlib.contextmanager
def running_sink(folder: Path) -> Iterator[Sink]:
    """A sink in a process of its own, so that a test may kill it like a real relay."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        port_file = Path(scratch) / "port"
        maildir, ledger = folder / "mail", folder / "mail.ledger"
        process = start_sink(maildir, ledger, port_file)
        try:
            yield Sink(wait_for_port(port_file, process), maildir, ledger, process)
        finally:
            process.terminate()
            process.wait(10)


def start_sink(maildir: Path, ledger: Path, port_file: Path) -> subprocess.Popen[bytes]:
    places = ["--maildir", maildir, "--ledger", ledger, "--port-file", port_file]
    # A session of its own: Ctrl-C in the terminal must not take the mail server away before its clients.
    command = [sys.executable, "-m", "dev.smtp_sink", *map(str, places)]
    return subprocess.Popen(command, start_new_session=True, cwd=Path(__file__).parent.parent)


def wait_for_port(port_file: Path, process: subprocess.Popen[bytes], seconds: float = 20) -> int:
    deadline = time.monotonic() + seconds
    while not port_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("The SMTP sink did not start.")
        time.sleep(0.02)
    return int(port_file.read_text())


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.smtp_sink")
    parser.add_argument("--maildir", type=Path, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--port-file", type=Path, help="where to write the port, once mail is accepted")
    options = parser.parse_args(arguments)

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    controller = BoundController(Delivery(options.maildir, options.ledger), hostname="127.0.0.1", port=options.port)
    controller.start()
    if options.port_file:
        unfinished = options.port_file.with_suffix(".unfinished")
        unfinished.write_text(str(controller.bound_port))
        unfinished.rename(options.port_file)
    stop.wait()
    controller.stop()
    return 0


class BoundController(Controller):
    """A Controller that may be asked for port 0 and then says which port it got."""

    @property
    def bound_port(self) -> int:
        assert self.server is not None
        return int(self.server.sockets[0].getsockname()[1])

    def _trigger_server(self) -> None:
        # The base class proves that it listens by connecting to the port it was asked for.
        self.port = self.bound_port
        super()._trigger_server()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
