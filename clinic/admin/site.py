"""The coordinators' desk: Django's admin under our own name, in the order of the work and not of the tables."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.timezone import now

from clinic.admin.queues import look_through

# What an admin class names in `section`; the navigation shows them in this order.
PEOPLE = "Patients"
DAYS = "Days and rooms"
CELLS = "Cells"
AFTERWARDS = "After the injection"
LETTERS = "Messages and links"
HOUSE = "How this clinic works"
SECTIONS = (PEOPLE, DAYS, CELLS, AFTERWARDS, LETTERS, HOUSE)


class PulposusAdminSite(admin.AdminSite):
    site_header = "Pulposus"
    site_title = "Pulposus"
    index_title = "What needs me now?"
    index_template = "admin/desk/index.html"
    site_url = None
    empty_value_display = "not known"

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """The navigation by section, for everything; Django's own list for one app."""
        apps = super().get_app_list(request, app_label)
        if app_label:
            return apps
        sections: dict[str, list[Any]] = {title: [] for title in (*SECTIONS, "Logins")}
        for model in (model for app in apps for model in app["models"]):
            sections[getattr(self.get_model_admin(model["model"]), "section", "Logins")].append(model)
        return [
            {"name": title, "app_label": f"section-{number}", "models": sorted(models, key=self._place)}
            for number, (title, models) in enumerate(sections.items())
            if models
        ]

    def _place(self, model: dict[str, Any]) -> tuple[int, str]:
        return getattr(self.get_model_admin(model["model"]), "place", 50), model["name"]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        queues = look_through(request.user, at=now())
        return super().index(request, {**(extra_context or {}), "queues": queues})
