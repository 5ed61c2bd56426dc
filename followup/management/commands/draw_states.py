"""manage.py draw_states: prints docs/states.md, one diagram for each table of legal moves."""

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from django.core.management.base import BaseCommand
from django.db.models import TextChoices

from clinic import states as clinic_states
from followup import states as followup_states
from scheduling import states as scheduling_states

TITLE = "# What each thing can be, and may become"
PREFACE = """\
Drawn by `manage.py draw_states` from the tables in `clinic/states.py`, `scheduling/states.py` and
`followup/states.py`: change a table, then run `make states`. Every arrow is a legal move, and there are no others."""


class Command(BaseCommand):
    help = "Print docs/states.md: a diagram for every table of legal moves."
    requires_system_checks: list[str] = []

    def handle(self, **_options: Any) -> None:
        self.stdout.write("\n\n".join([TITLE, PREFACE, *diagrams()]))


def diagrams() -> Iterator[str]:
    for app, module in (("clinic", clinic_states), ("scheduling", scheduling_states), ("followup", followup_states)):
        for name, moves in _tables(module):
            yield f"## {name}\n\n`{app}.states`\n\n```mermaid\n{_diagram(moves)}\n```"


def _tables(module: ModuleType) -> Iterator[tuple[str, Mapping[TextChoices, set[str]]]]:
    """The tables of a module in the order in which they are written there, named after their states; a second table
    for the same states, after what it is for."""
    named: set[str] = set()
    for name, moves in vars(module).items():
        if name.endswith("_MOVES"):
            thing = type(next(iter(moves))).__name__.removesuffix("Status")
            yield f"{thing}: {name.removesuffix('_MOVES').lower()}" if thing in named else thing, moves
            named.add(thing)


def _diagram(moves: Mapping[TextChoices, set[str]]) -> str:
    """A table begins with the state in which a thing is made; a state that leads nowhere is an end."""
    states = list(moves)
    place: dict[str, int] = {state: number for number, state in enumerate(states)}
    lines = ["stateDiagram-v2"]
    lines += [f'    state "{state.label}" as {_id(state)}' for state in states]
    lines.append(f"    [*] --> {_id(states[0])}")
    for state in states:
        lines += [f"    {_id(state)} --> {_id(to)}" for to in sorted(moves[state], key=place.__getitem__)]
        if not moves[state]:
            lines.append(f"    {_id(state)} --> [*]")
    return "\n".join(lines)


def _id(state: str) -> str:
    return str(state).replace("-", "_")
