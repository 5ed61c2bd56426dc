"""A mail server that delivers nothing: every mail lands in a Maildir, and a ledger says so.

    python -m dev.smtp_sink --ledger FILE [--maildir DIR] [--port 0] [--port-file FILE]
        [--idle-timeout 300] [--delay-ms 0] [--drop-before 0] [--drop-after 0] [--seed 0]

The ledger is what a relay's log is in production: one line per accepted mail, `time<TAB>Message-ID<TAB>envelope-to`,
on disk before the client hears "250 OK". The demo's inbox page reads the Maildir; tests count the ledger. A server that
was killed can be started again on the same port and ledger.

On request it is a bad relay: slow, and now and then it cuts the line when it has the whole mail, either before it takes
it or after, when the ledger says so and the client can only wonder (RFC 1047). Chance is drawn from the seed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import mailbox
import os
import random
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


@dataclass(frozen=True)
class Manners:
    """How badly the server behaves: which share of the mails it cuts the line at, and how long it thinks about each."""

    drop_before: float = 0
    drop_after: float = 0
    delay_ms: int = 0
    seed: int = 0


class Delivery:
    """aiosmtpd's handler: it calls handle_DATA for each mail."""

    def __init__(self, maildir: Path | None, ledger: Path, manners: Manners = Manners()):
        ledger.parent.mkdir(parents=True, exist_ok=True)
        if maildir:
            maildir.parent.mkdir(parents=True, exist_ok=True)
        self.maildir = mailbox.Maildir(maildir, create=True) if maildir else None
        self.ledger = ledger
        self.manners = manners
        self.chance = random.Random(manners.seed)  # noqa: S311 - it decides over mails that nobody waits for

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        drawn = self.chance.random()
        await asyncio.sleep(self.manners.delay_ms / 2000)  # half the time before the mail is taken, half after it
        if drawn < self.manners.drop_before:
            return cut_the_line(server)
        self.take(envelope)
        await asyncio.sleep(self.manners.delay_ms / 2000)
        if drawn >= 1 - self.manners.drop_after:
            return cut_the_line(server)
        return "250 OK"

    def take(self, envelope: Envelope) -> None:
        content = envelope.original_content or b""
        mail = message_from_bytes(content)
        recipients = ",".join(envelope.rcpt_tos)
        if self.maildir is not None:
            # Whom the envelope named, kept as mail servers keep it: a Bcc is in no other header.
            kept = f"Delivered-To: {recipients}\n".encode() + content.replace(b"\r\n", b"\n")
            self.maildir.add(kept)  # written under tmp/, synced, then renamed into new/
        message_id = " ".join(str(mail["Message-ID"] or "").split())
        line = f"{datetime.now(UTC).isoformat()}\t{message_id}\t{recipients}\n"
        with self.ledger.open("a") as ledger:
            ledger.write(line)
            ledger.flush()
            os.fsync(ledger.fileno())


def cut_the_line(server: SMTP) -> str:
    server.transport.abort()
    return "421 Nobody hears this"


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
        return read_ledger(self.ledger)


def read_ledger(ledger: Path) -> list[tuple[str, str, str]]:
    """(time, Message-ID, envelope-to) of every mail that was accepted; a line still being written is not one."""
    if not ledger.exists():
        return []
    words = (line.split("\t") for line in ledger.read_text().splitlines(keepends=True) if line.endswith("\n"))
    return [(when, message_id, to.rstrip("\n")) for when, message_id, to in words]


@contextlib.contextmanager
def running_sink(folder: Path, *options: str) -> Iterator[Sink]:
    """A sink in a process of its own, so that a test may kill it like a real relay."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        port_file = Path(scratch) / "port"
        maildir, ledger = folder / "mail", folder / "mail.ledger"
        process = start_sink(maildir, ledger, port_file, *options)
        try:
            yield Sink(wait_for_port(port_file, process), maildir, ledger, process)
        finally:
            process.terminate()
            process.wait(10)


def start_sink(maildir: Path | None, ledger: Path, port_file: Path, *options: str) -> subprocess.Popen[bytes]:
    places = [*(("--maildir", maildir) if maildir else ()), "--ledger", ledger, "--port-file", port_file]
    # A session of its own: Ctrl-C in the terminal must not take the mail server away before its clients.
    command = [sys.executable, "-m", "dev.smtp_sink", *map(str, places), *options]
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
    parser.add_argument("--maildir", type=Path, help="where to keep the mails; without it only the ledger is kept")
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--port-file", type=Path, help="where to write the port, once mail is accepted")
    parser.add_argument("--idle-timeout", type=float, default=300, help="seconds until a silent client is cut off")
    parser.add_argument("--delay-ms", type=int, default=0, help="how long each mail takes")
    parser.add_argument("--drop-before", type=float, default=0, help="share of mails cut off before they are taken")
    parser.add_argument("--drop-after", type=float, default=0, help="share of mails cut off after they were taken")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    manners = Manners(options.drop_before, options.drop_after, options.delay_ms, options.seed)
    delivery = Delivery(options.maildir, options.ledger, manners)
    controller = BoundController(delivery, hostname="127.0.0.1", port=options.port, timeout=options.idle_timeout)
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
