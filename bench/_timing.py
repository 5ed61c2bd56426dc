"""Timing that benches share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any
from unittest import mock

from django.db import connection


def milliseconds(action: Callable[[], Any], *, times: int = 7) -> float:
    """The median of several runs, after one that does not count."""
    action()
    taken = []
    for _ in range(times):
        start = perf_counter()
        action()
        taken.append((perf_counter() - start) * 1000)
    return median(taken)


@contextmanager
def in_the_database() -> Iterator[list[float]]:
    """The milliseconds of every statement from asking to answer, and of the commit, as they come."""
    taken: list[float] = []

    def timed(action: Callable[..., Any], *given: Any) -> Any:
        start = perf_counter()
        try:
            return action(*given)
        finally:
            taken.append((perf_counter() - start) * 1000)

    commit = partial(timed, connection.commit)
    with connection.execute_wrapper(timed), mock.patch.object(connection, "commit", commit):
        yield taken
