"""The coordinators' desk: Django's admin under our own name, in the order of the work and not of the tables, and its
first page of work queues. Each queue is data, registered by the app that owns the rows: a question to the database,
nothing stored; a row leaves it when the work is done.

It does not live in `clinic.admin`, because importing that package registers pages on this very site."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.timezone import now

from clinic import clock, heartbeats

# What an admin class names in `section`; the navigation shows them in this order.
PEOPLE = "Patients"
DAYS = "Days and rooms"
CELLS = "Cells"
AFTERWARDS = "After the injection"
LETTERS = "Messages and links"
HOUSE = "How this clinic works"
SECTIONS = (PEOPLE, DAYS, CELLS, AFTERWARDS, LETTERS, HOUSE)

ASK_AGAIN = timedelta(seconds=5)  # how long every page of a process believes what one of them heard
SHOWN = 5  # rows of each queue on the first page; the rest is behind "All"


@dataclass(frozen=True)
class Line:
    """One row of a queue: whom it is about, what is the matter, and where one click leads. What cannot wait is said
    `loud`, in red."""

    who: str
    what: str
    url: str
    action: str = "Open"
    loud: str = ""


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


@dataclass(frozen=True)
class Page:
    """A page of its own, which is no list of rows: at `path` below the desk, and in the navigation."""

    section: str
    place: int
    name: str
    path: str
    view: Callable[[HttpRequest], HttpResponse]
    permission: str

    @property
    def slug(self) -> str:
        return self.path.strip("/").replace("/", "_")


QUEUES: list[Queue] = []
PAGES: list[Page] = []


def register(*queues: Queue) -> None:
    QUEUES.extend(queues)
    QUEUES.sort(key=lambda queue: queue.place)


def register_pages(*pages: Page) -> None:
    PAGES.extend(pages)


def look_through(user: Any, *, at: datetime) -> list[Look]:
    """Every queue that `user` may work on, with its count and its first rows."""
    return [_look(queue, user, at) for queue in QUEUES if user.has_perm(queue.permission)]


def _look(queue: Queue, user: Any, at: datetime) -> Look:
    rows: QuerySet[Model] = queue.rows(user, at)
    first = list(rows[:SHOWN])
    count = len(first) if len(first) < SHOWN else rows.count()
    return Look(queue=queue, count=count, lines=[queue.line(row, at) for row in first], url=queue.everything())


@dataclass(frozen=True)
class Silence:
    """What every page says in red while no message goes out."""

    lasting: str
    since: str
    tell: str


class _Watch:
    """Whether messages still go out: asked of the database once in a few seconds, not by each page."""

    def __init__(self) -> None:
        self.heard_at: datetime | None = None
        self.silence: Silence | None = None

    def look(self, *, at: datetime) -> Silence | None:
        if self.heard_at is None or abs(at - self.heard_at) >= ASK_AGAIN:
            self.silence, self.heard_at = _silence(heartbeats.listen()), at
        return self.silence


def _silence(heard: heartbeats.Heard) -> Silence | None:
    pulse = heard.dispatcher
    if not pulse.silent:
        return None
    tell = settings.OPERATOR or "whoever runs Pulposus at your clinic"
    if pulse.beat_at is None:
        return Silence("", "", tell)
    since = " / ".join(clock.spoken(pulse.beat_at, zone) for zone in heard.zones[:3])
    return Silence(_lasting(pulse.silence), since, tell)


def _lasting(silence: timedelta) -> str:
    minutes = int(silence.total_seconds() // 60)
    for name, length in (("day", 24 * 60), ("hour", 60)):
        if minutes >= 2 * length:
            return f"{minutes // length} {name}s"
    return f"{minutes} minutes"


WATCH = _Watch()


class PulposusAdminSite(admin.AdminSite):
    site_header = "Pulposus"
    site_title = "Pulposus"
    index_title = "What needs me now?"
    index_template = "admin/desk/index.html"
    site_url = None
    empty_value_display = "-"

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """The navigation by section, for everything; Django's own list for one app."""
        apps = super().get_app_list(request, app_label)
        if app_label:
            return apps
        sections: dict[str, list[Any]] = {title: [] for title in (*SECTIONS, "Logins")}
        for model in (model for app in apps for model in app["models"]):
            page = self.get_model_admin(model["model"])
            model["name"] = getattr(page, "called", "") or model["name"]
            sections[getattr(page, "section", "Logins")].append(model)
        for own in PAGES:
            if request.user.has_perm(own.permission):
                address = {"admin_url": reverse(f"admin:{own.slug}"), "object_name": own.name, "add_url": None}
                sections[own.section].append({"name": own.name, "place": own.place, **address})
        return [
            {"name": title, "app_label": f"section-{number}", "models": sorted(models, key=self._place)}
            for number, (title, models) in enumerate(sections.items())
            if models
        ]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        silence = WATCH.look(at=now()) if self.has_permission(request) else None
        return {**super().each_context(request), "silence": silence}

    def _place(self, model: dict[str, Any]) -> tuple[int, str]:
        if "place" in model:
            return model["place"], model["name"]
        return getattr(self.get_model_admin(model["model"]), "place", 50), model["name"]

    def get_urls(self) -> list[URLPattern | URLResolver]:
        return [*(path(page.path, self.admin_view(page.view), name=page.slug) for page in PAGES), *super().get_urls()]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        queues = look_through(request.user, at=now())
        return super().index(request, {**(extra_context or {}), "queues": queues})
