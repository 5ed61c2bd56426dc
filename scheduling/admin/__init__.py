"""The desk's pages on the way to the day. `autodiscover` imports this; the pages register themselves."""

from scheduling.admin import (
    appointments,
    cells,
    closures,
    evaluations,
    feeds,
    harvests,
    imaging,
    injections,
    lots,
    protocols,
    queues,
    referrals,
    requests,
    resources,
    waitlist,
)

__all__ = [
    "appointments",
    "cells",
    "closures",
    "evaluations",
    "feeds",
    "harvests",
    "imaging",
    "injections",
    "lots",
    "protocols",
    "queues",
    "referrals",
    "requests",
    "resources",
    "waitlist",
]
