"""The desk's pages for patients, places, messages and links: `autodiscover` imports this; they register themselves."""

from clinic.admin import calls, links, messages, patients, returns, rules, sites

__all__ = ["calls", "links", "messages", "patients", "returns", "rules", "sites"]
