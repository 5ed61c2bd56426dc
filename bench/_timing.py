"""Timing that two benches share."""

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any


def milliseconds(action: Callable[[], Any], *, times: int = 7) -> float:
    """The median of several runs, after one that does not count."""
    action()
    taken = []
    for _ in range(times):
        start = perf_counter()
        action()
        taken.append((perf_counter() - start) * 1000)
    return median(taken)
