"""The desk's pages for patients, places, messages and links: `autodiscover` imports this; they register themselves."""

from clinic.admin import links, messages, outgoing, patients, rules, sites

__all__ = ["links", "messages", "outgoing", "patients", "rules", "sites"]
