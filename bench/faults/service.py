"""The service as a clinic runs it, on servers of its own: two workers, two beats on purpose, a stand-in, and the mail
server. And the handles to hurt each of them. Whatever was started is ended by its number, however the run ends."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from dev import PROJECT
from dev.environment import throwaway
from dev.instance import Instance
from dev.machine import outside_home, wait_until
from dev.processes import kill_group
from dev.smtp_sink import read_ledger, start_sink, wait_for_port

DATABASE, QUEUE = "faults", "faults"
CELERY = (sys.executable, "-m", "celery", "-A", "clinic")


@dataclass(frozen=True)
class Pace:
    """A clinic's 180 seconds are made short. Half the lease is longer than both timeouts together."""

    lease: int = 12
    sweep: int = 2

    @property
    def email_timeout(self) -> int:
        return max(1, self.lease // 4)

    @property
    def idle_timeout(self) -> float:
        return self.lease / 6


@contextmanager
def own_servers() -> Iterator[tuple[Path, Instance]]:
    """A folder, and a PostgreSQL and a Valkey that nobody else uses: they are going to be killed."""
    folder = Path(tempfile.mkdtemp(prefix="pulposus-faults-"))
    folder.chmod(0o711)  # the servers' account must be able to enter it
    instance = Instance("faults", folder)
    try:
        instance.start()
        instance.ensure_database(DATABASE)
        yield folder, instance
    finally:
        instance.stop()
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(outside_home(folder), ignore_errors=True)


def environment(folder: Path, instance: Instance, *, pace: Pace, mail_port: int) -> dict[str, str]:
    """The settings of the service, and of ourselves, who look at the same database."""
    return throwaway() | {
        "DATABASE_URL": instance.database_url(DATABASE),
        "REDIS_URL": instance.redis_url(0),
        "CELERY_QUEUE": QUEUE,
        "EMAIL_URL": f"smtp://127.0.0.1:{mail_port}",
        "EMAIL_TIMEOUT_SECONDS": str(pace.email_timeout),
        "MESSAGE_LEASE_SECONDS": str(pace.lease),
        "SWEEP_SECONDS": str(pace.sweep),
        "DELIVERY_LEDGER": "clinic.ledger.SinkLedger",
        "SINK_LEDGER": str(folder / "mail.ledger"),
    }


@dataclass
class MailServer:
    """The sink, on one port and one ledger over all its lives."""

    folder: Path
    options: Sequence[str] = ()
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    keep_mails: bool = True

    @property
    def maildir(self) -> Path:
        return self.folder / "mail"

    def start(self) -> None:
        port_file = self.folder / "mail.port"
        port_file.unlink(missing_ok=True)
        places = (self.maildir if self.keep_mails else None, self.folder / "mail.ledger", port_file)
        self.process = start_sink(*places, "--port", str(self.port), *self.options)
        self.port = wait_for_port(port_file, self.process)

    def kill(self) -> None:
        if self.process:
            kill_group(self.process.pid)
            self.process.wait()

    def ledger(self) -> list[tuple[str, str, str]]:
        return read_ledger(self.folder / "mail.ledger")


@contextmanager
def mail_server(folder: Path, options: Sequence[str]) -> Iterator[MailServer]:
    server = MailServer(folder, options)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@dataclass
class Member:
    """A worker or a beat, over all its lives."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    frozen: bool = False

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


@dataclass
class Crew:
    """Workers, beats and stand-in. Whoever is found dead is started again, as systemd or Docker would."""

    folder: Path
    env: Mapping[str, str]
    members: list[Member] = field(default_factory=list)

    def workers(self) -> list[Member]:
        return [member for member in self.members if member.name.startswith("worker")]

    def others(self) -> list[Member]:
        return [member for member in self.members if not member.name.startswith("worker")]

    def hire(self, *, workers: int, beats: int) -> None:
        for number in range(workers):
            options = ("--concurrency", "1", "--loglevel", "INFO", "--without-mingle", "--without-gossip")
            self.members.append(Member(f"worker-{number}", [*CELERY, "worker", *options, "-n", f"faults-{number}@%h"]))
        for number in range(beats):
            places = ("--schedule", str(self.folder / f"schedule-{number}"), "--pidfile", "")
            self.members.append(Member(f"beat-{number}", [*CELERY, "beat", "--loglevel", "INFO", *places]))
        self.members.append(Member("stand-in", [sys.executable, "manage.py", "stand_in"]))

    def keep_alive(self) -> None:
        for member in self.members:
            if not member.alive:
                self._start(member)

    def _start(self, member: Member) -> None:
        member.frozen = False
        with (self.folder / f"{member.name}.log").open("ab") as log:
            member.process = subprocess.Popen(
                member.command,
                cwd=PROJECT,
                env=os.environ | dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the pool's children are what does the work: they die with the group
            )

    def kill(self, member: Member) -> None:
        if member.process:
            kill_group(member.process.pid)
            member.process.wait()

    def freeze(self, member: Member) -> None:
        member.frozen = True
        self._signal(member, signal.SIGSTOP)

    def thaw(self, member: Member) -> None:
        member.frozen = False
        self._signal(member, signal.SIGCONT)

    def _signal(self, member: Member, number: signal.Signals) -> None:
        if member.process and member.alive:
            with suppress(ProcessLookupError):
                os.killpg(member.process.pid, number)

    def dismiss(self) -> None:
        for member in self.members:
            self.kill(member)

    def logs(self) -> str:
        names = sorted({member.name for member in self.members})
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace") for name in names)


def stop_at_once(instance: Instance) -> None:
    """PostgreSQL without a goodbye: every connection breaks, whatever was not committed is gone."""
    pg_ctl = (instance.postgres_bin / "pg_ctl", "stop", "-D", instance.data, "-w", "-t", "30", "-m", "immediate")
    instance.account.run(*pg_ctl, check=False)
    wait_until(lambda: instance.postgres_process() is None, "PostgreSQL does not stop.")


def kill_broker(instance: Instance) -> None:
    if process := instance.valkey_process():
        process.kill()
        wait_until(lambda: instance.valkey_process() is None, "Valkey does not die.")


def flush_broker(instance: Instance) -> None:
    with suppress(Exception):  # it may be down: then it has forgotten everything already
        instance.client().flushall()


def some(chance: random.Random, members: Sequence[Member]) -> Member | None:
    awake = [member for member in members if member.alive and not member.frozen]
    return chance.choice(awake) if awake else None
