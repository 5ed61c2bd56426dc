"""The desk's pages for patients, places, messages and links: `autodiscover` imports this; they register themselves."""

from clinic.admin import calls, links, messages, outgoing, patients, returns, rules, sites

__all__ = ["calls", "links", "messages", "outgoing", "patients", "returns", "rules", "sites"]
