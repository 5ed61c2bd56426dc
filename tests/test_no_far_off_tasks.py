"""Nothing is handed to the broker for later: it forgets, repeats, and does not know that the appointment was cancelled
(docs/decisions/0004). A test of its own looks at every Celery call in the source."""

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
APPS = ("clinic", "scheduling", "followup")
MOST = 300  # seconds
TIMED = {"eta", "countdown", "default_retry_delay", "retry_backoff", "retry_backoff_max"}


def far_off(source):
    """What in `source` puts something off by more than five minutes, or by nobody knows how much: line and name."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            found += [(node.lineno, word.arg) for word in node.keywords if word.arg in TIMED and not _soon(word)]
            found += [(node.lineno, "crontab")] * (_name(node.func) == "crontab")
        elif isinstance(node, ast.Dict):  # options that are handed on as **options, or stand in the settings
            keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
            found += [(node.lineno, key) for key in keys if key in TIMED]
    return found


def _soon(word):
    return (
        word.arg in {"countdown", "default_retry_delay", "retry_backoff_max"}
        and isinstance(word.value, ast.Constant)
        and isinstance(word.value.value, int | float)
        and word.value.value <= MOST
    )


def _name(function):
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def test_no_celery_call_is_put_off_by_more_than_five_minutes():
    files = [file for app in APPS for file in (PROJECT / app).rglob("*.py")]

    assert len(files) > 100
    found = {str(file.relative_to(PROJECT)): far_off(file.read_text(encoding="utf-8")) for file in files}
    assert {name: calls for name, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("remind.apply_async(eta=tomorrow)", [(1, "eta")]),
        ("remind.apply_async((1,), countdown=301)", [(1, "countdown")]),
        ("remind.apply_async((1,), countdown=wait)", [(1, "countdown")]),
        ("app.send_task('remind', **{'eta': tomorrow})", [(1, "eta")]),
        ("remind.s().set(countdown=86400)", [(1, "countdown")]),
        ("raise self.retry(countdown=2 ** tries)", [(1, "countdown")]),
        ("@shared_task(retry_backoff=True)\ndef remind(): ...", [(1, "retry_backoff")]),
        ("schedule = crontab(hour=9)", [(1, "crontab")]),
        ("remind.apply_async((1,), countdown=300)", []),
        ("remind.delay(1)", []),
    ],
)
def test_a_call_that_is_put_off_is_seen(source, found):
    assert far_off(source) == found
