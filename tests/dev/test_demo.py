"""`make demo`: refusals that help, secrets that last, a browser that is found."""

import json
import socket
import stat

import pytest

from dev import browser, demo, environment


def test_a_busy_port_is_refused_with_the_way_out(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        port = somebody.getsockname()[1]
        monkeypatch.setenv("PORT", str(port))

        with pytest.raises(demo.DemoFailed, match=rf"Port {port} is in use.*PORT=8123 make demo"):
            demo.port_from_environment()


@pytest.mark.parametrize("word", ["web", "0", "65536", "-1"])
def test_a_port_that_is_none_is_refused(monkeypatch, word):
    monkeypatch.setenv("PORT", word)

    with pytest.raises(demo.DemoFailed, match=f"PORT={word} is not a port number"):
        demo.port_from_environment()


def test_secrets_are_made_once_and_are_ours_alone(tmp_path):
    file = tmp_path / "demo" / "secrets.json"

    first = environment.kept_secrets(file)

    assert environment.kept_secrets(file) == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(set(first.values())) == 3


def test_the_password_may_be_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("DEMO_PASSWORD", "correct horse")

    assert environment.demo(port=8000, mail_port=2525, folder=tmp_path)["DEMO_PASSWORD"] == "correct horse"


def test_only_a_dead_demos_processes_are_left_overs(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "FOLDER", tmp_path)
    with demo.noted([]):
        demo.end_leftovers()
        (ours,) = tmp_path.glob("processes-*.json")  # still there: this demo is alive

        facts = json.loads(ours.read_text())
        facts["demo"][1] -= 1000  # the same number, but a process of another time
        ours.write_text(json.dumps(facts))
        demo.end_leftovers()

        assert not ours.exists()


def test_a_browser_of_ones_own_choice_wins(tmp_path, monkeypatch):
    mine = tmp_path / "my-browser"
    mine.touch()
    monkeypatch.setenv("CHROMIUM", str(mine))

    assert browser.find() == str(mine)
