"""How the desk shows things, the same everywhere: a status as a word with a sign and a colour, an instant in the time
of the clinic, a row as a link, rows as a table."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.db.models import Model
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from clinic import clock
from clinic.models import Site

UNKNOWN = SafeString('<span class="quiet">not known</span>')
NOTHING = SafeString('<span class="quiet">-</span>')

OK, WARN, STOP, INFO, QUIET = ("ok", "✓"), ("warn", "!"), ("stop", "✕"), ("info", "●"), ("quiet", "○")
# By the stored value: the same word means the same thing in every app.
TONES = {
    "accepted": OK, "signed": OK, "eligible": OK, "confirmed": OK, "arrived": OK, "fulfilled": OK, "ready": OK,
    "released": OK, "used": OK, "done": OK, "completed": OK, "active": OK, "sent": OK, "met": OK, "pass": OK,
    "booked": INFO, "received": INFO, "planned": INFO, "open": INFO, "allocated": INFO, "collected": INFO,
    "amended": OK, "sending": INFO, "acknowledged": INFO, "due": INFO, "in-progress": INFO,
    "held": ("held", "◌"), "draft": WARN, "cannot_decide": WARN, "quarantined": WARN, "thawed": WARN,
    "unknown": WARN, "lost": WARN, "missed": WARN,
    "fail": STOP, "warn": WARN, "waiting": INFO, "placed": OK, "lapsed": WARN,
    "declined": STOP, "not_eligible": STOP, "noshow": STOP, "failed": STOP, "recalled": STOP, "raised": STOP,
    "not_met": STOP,
}  # fmt: skip


def tone(value: str) -> tuple[str, str]:
    return TONES.get(value, QUIET)


def badge(value: str, label: str) -> SafeString:
    name, sign = tone(value)
    return format_html(
        '<span class="state state-{}"><span aria-hidden="true">{}</span> {}</span>', name, sign, capfirst(label)
    )


def state(row: Model, field: str = "status") -> SafeString:
    """The row's status as a word with its sign and colour."""
    return badge(getattr(row, field), getattr(row, f"get_{field}_display")())


def when(at: datetime | None, zone: str | ZoneInfo) -> str | SafeString:
    return clock.spoken(at, zone) if at else NOTHING


def during(period: Any, zone: str | ZoneInfo) -> str | SafeString:
    """A half-open range of instants, as people say it."""
    return clock.spoken_range(period.lower, period.upper, zone) if period else NOTHING


def day(on: date | None) -> str | SafeString:
    """A day as people say it, in one piece: "Tue 12 May 2026"."""
    return date_format(on, "D j M Y").replace(" ", "\N{NO-BREAK SPACE}") if on else NOTHING


def days(first: date | None, last: date | None) -> str | SafeString:
    """From the first day to the last, breaking only between them."""
    return f"{day(first)}\N{NO-BREAK SPACE}- {day(last)}" if first and last else NOTHING


def yes_no(value: bool | None) -> str | SafeString:
    return UNKNOWN if value is None else ("yes" if value else "no")


def known(value: Any) -> Any:
    """The value, or the words "not known": an empty cell never looks like a zero."""
    return UNKNOWN if value is None or value == "" else value


def page_of(row: Model) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def step_page(row: Model, name: str) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_step", args=[row.pk, name])


def list_of(model: type[Model], **query: Any) -> str:
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return f"{url}?{urlencode(query)}" if query else url


def link(row: Model | None, text: str | None = None) -> SafeString:
    if row is None:
        return NOTHING
    return format_html('<a href="{}">{}</a>', page_of(row), text if text is not None else str(row))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> SafeString:
    """Rows as a table with a heading row; `empty` says what will fill it."""
    return render_to_string("admin/desk/table.html", {"columns": columns, "rows": list(rows), "empty": empty})


def facts(pairs: Iterable[tuple[str, Any]]) -> SafeString:
    """Labelled values, one below the other."""
    return render_to_string("admin/desk/facts.html", {"pairs": list(pairs)})


def site_of(row: Model | None) -> Site | None:
    """The site a row belongs to, along its model's SITE_PATH; None for what all sites share."""
    path = getattr(row, "SITE_PATH", None)
    if row is None or path is None or path == "sites":
        return None
    for part in path.split("__") if path else ():
        row = getattr(row, part)
    return row


def zone_of(row: Model | None) -> ZoneInfo:
    site = site_of(row)
    return site.zone if site else ZoneInfo("UTC")
