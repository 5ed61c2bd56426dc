"""The desk's pages for what comes after the injection, and for the whole story of one treatment. `autodiscover` imports
this; the pages register themselves."""

from followup.admin import alerts, completeness, episodes, events, instruments, plans, queues, recovery, surveys

__all__ = ["alerts", "completeness", "episodes", "events", "instruments", "plans", "queues", "recovery", "surveys"]
