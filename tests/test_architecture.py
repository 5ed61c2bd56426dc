"""The tree holds its shape: who may import whom is written in .importlinter and checked here, so that a forbidden
import fails like any other mistake."""

import ast
from pathlib import Path

import pytest
from importlinter import cli

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(path for app in ("clinic", "scheduling", "followup") for path in (ROOT / app).rglob("*.py"))


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def here(path):
    return str(path.relative_to(ROOT))


@pytest.mark.slow
def test_every_import_goes_the_way_the_contract_says(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)

    broken = cli.lint_imports(no_cache=True)

    assert not broken, capsys.readouterr().out


def test_every_module_opens_by_saying_what_it_is_for():
    silent = [path for path in MODULES if path.stat().st_size and path.parent.name != "migrations"]

    assert [here(path) for path in silent if not ast.get_docstring(tree(path)) and path.name != "apps.py"] == []


def test_no_step_and_no_rule_looks_at_the_clock():
    """Only edges call now(): what a step does depends on the `at` it is given, and on nothing else."""
    edges = {"admin", "api", "desk", "tasks", "views", "management", "migrations", "models", "rehearsal"}
    edges |= {"hooks", "preferences", "probes", "visit_pages"}  # other views
    inner = [path for path in MODULES if not edges & {*path.relative_to(ROOT).parts, path.stem}]
    clocks = {"now", "today", "utcnow"}

    assert [
        f"{here(path)}:{node.lineno}"
        for path in inner
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", getattr(node.func, "id", "")) in clocks
        and not node.args
    ] == []


def test_nobody_writes_a_status_but_the_one_door():
    """A status column is assigned in clinic.status only; the bulk moves of messages name their table."""
    elsewhere = [path for path in MODULES if here(path) not in ("clinic/status.py", "clinic/messages.py")]

    assert [
        f"{here(path)}:{node.lineno}"
        for path in elsewhere
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Attribute) and target.attr == "status"
    ] == []
