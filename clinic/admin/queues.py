"""The work queues of the first page: each is data, registered by the app that owns the rows. Nothing is assigned or
stored; a queue is a question to the database, and a row leaves it when the work is done."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Model, QuerySet

SHOWN = 5  # rows of each queue on the first page; the rest is behind "All"


@dataclass(frozen=True)
class Line:
    """One row of a queue: whom it is about, what is the matter, and where one click leads."""

    who: str
    what: str
    url: str
    action: str = "Open"


@dataclass(frozen=True)
class Queue:
    """`rows(user, at)` must be limited to what `user` may see; `line(row, at)` may not ask the database."""

    title: str
    rows: Callable[[Any, datetime], QuerySet[Any]]
    line: Callable[[Any, datetime], Line]
    everything: Callable[[], str]
    empty: str
    permission: str
    place: int
    urgent: bool = False


@dataclass(frozen=True)
class Look:
    """A queue as one person sees it now."""

    queue: Queue
    count: int
    lines: list[Line]
    url: str

    @property
    def more(self) -> int:
        return self.count - len(self.lines)


QUEUES: list[Queue] = []


def register(*queues: Queue) -> None:
    QUEUES.extend(queues)
    QUEUES.sort(key=lambda queue: queue.place)


def look_through(user: Any, *, at: datetime) -> list[Look]:
    """Every queue that `user` may work on, with its count and its first rows."""
    return [_look(queue, user, at) for queue in QUEUES if user.has_perm(queue.permission)]


def _look(queue: Queue, user: Any, at: datetime) -> Look:
    rows: QuerySet[Model] = queue.rows(user, at)
    first = list(rows[:SHOWN])
    count = len(first) if len(first) < SHOWN else rows.count()
    return Look(queue=queue, count=count, lines=[queue.line(row, at) for row in first], url=queue.everything())
