"""The desk's pages for what comes after the injection, and for the whole story of one treatment. `autodiscover` imports
this; the pages register themselves."""

from followup.admin import (
    adverse,
    alerts,
    completeness,
    episodes,
    events,
    imaging,
    instruments,
    plans,
    queues,
    recovery,
    surveys,
    waiting,
)

__all__ = [
    "adverse",
    "alerts",
    "completeness",
    "episodes",
    "events",
    "imaging",
    "instruments",
    "plans",
    "queues",
    "recovery",
    "surveys",
    "waiting",
]
