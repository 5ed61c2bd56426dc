"""What every page of the desk has in common: only the rows of one's own sites, times in the clinic's zone, panels that
read like a letter, a sentence where the database refuses, and nothing that can be deleted by accident."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import flatten_fieldsets
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.db import DataError, IntegrityError, models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from clinic.admin import show
from clinic.models import StatusChange


class DateInput(forms.DateInput):
    """The browser's own date picker: it speaks the reader's language and needs no script of ours."""

    input_type = "date"

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs, format="%Y-%m-%d")


class TimeInput(forms.TimeInput):
    input_type = "time"

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs, format="%H:%M")


class DateTimeInput(forms.DateTimeInput):
    """A wall-clock time at the site: the page that shows it runs in the site's zone."""

    input_type = "datetime-local"

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs, format="%Y-%m-%dT%H:%M")


NATIVE = {
    models.DateField: {"widget": DateInput},
    models.TimeField: {"widget": TimeInput},
    models.DateTimeField: {"form_class": forms.DateTimeField, "widget": DateTimeInput},
}


@dataclass(frozen=True)
class Panel:
    """A titled block on the page of a row: `draw(row, request)` returns its HTML."""

    title: str
    draw: Callable[[Any, HttpRequest], SafeString]
    first: bool = False  # above the facts of the row itself


# A higher app adds to the page of a lower app's model without the lower app knowing it.
_PANELS: dict[type[models.Model], list[Panel]] = defaultdict(list)
_INLINES: dict[type[models.Model], list[type[admin.options.InlineModelAdmin]]] = defaultdict(list)


def add_panels(model: type[models.Model], *panels: Panel) -> None:
    _PANELS[model].extend(panels)


def add_inlines(model: type[models.Model], *inlines: type[admin.options.InlineModelAdmin]) -> None:
    _INLINES[model].extend(inlines)


def sentence_of(error: IntegrityError | DataError) -> str:
    """What the database refused. Our constraints are named as sentences, so the name can be shown."""
    diagnostics = getattr(error.__cause__, "diag", None)
    name = getattr(diagnostics, "constraint_name", None)
    if not name:
        return "Not saved: one of these values does not fit. Nothing has been changed."
    return f"Not saved, because of this rule: {name.replace('_', ' ')}. Nothing has been changed."


class VisibleRelatedFilter(admin.RelatedFieldListFilter):
    """A filter on a related row that offers only rows the person may see."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return [(row.pk, str(row)) for row in visible(field.related_model._default_manager.all(), request.user)]


class FirstIsDefault(admin.SimpleListFilter):
    """A filter without "All" that begins with its first choice: what people come to the list for."""

    def value(self) -> str:
        return super().value() or self.lookup_choices[0][0]

    def choices(self, changelist: Any) -> Any:
        for lookup, title in self.lookup_choices:
            chosen = changelist.get_query_string({self.parameter_name: lookup})
            yield {"selected": self.value() == str(lookup), "query_string": chosen, "display": title}


def visible(rows: Any, user: Any) -> Any:
    return rows.visible_to(user) if hasattr(rows.model, "SITE_PATH") else rows


class Scoped:
    """For admins and inlines: choices and rows of one's own sites only, native date and time fields, no pop-ups."""

    formfield_overrides = NATIVE

    def get_queryset(self, request: HttpRequest) -> Any:
        return visible(super().get_queryset(request), request.user)  # type: ignore[misc]

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs.setdefault("queryset", visible(db_field.remote_field.model._default_manager.all(), request.user))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)  # type: ignore[misc]

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs.setdefault("queryset", visible(db_field.remote_field.model._default_manager.all(), request.user))
        return super().formfield_for_manytomany(db_field, request, **kwargs)  # type: ignore[misc]

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[misc]
        if field is not None and isinstance(field.widget, RelatedFieldWidgetWrapper):
            field.widget = field.widget.widget
        return field


class LabelledFormSet(forms.BaseInlineFormSet):
    """Lines of a table have their labels in its heading only: each field says its own to who cannot see the heading."""

    def add_fields(self, form: forms.BaseForm, index: int | None) -> None:
        super().add_fields(form, index)
        for name, field in form.fields.items():
            field.widget.attrs.setdefault("aria-label", str(field.label or name.capitalize()))


class DeskAdmin(Scoped, admin.ModelAdmin):
    """`question` is the title of the list, `called` its name in the navigation, `section` and `place` where it stands
    there; `editable` are the fields that may be typed into on an existing row (None: all of them), and `panels` is what
    else its page shows."""

    change_form_template = "admin/desk/change_form.html"
    change_list_template = "admin/desk/change_list.html"
    actions = None
    list_per_page = 50
    show_facets = admin.ShowFacets.NEVER
    question = ""
    called = ""
    empty = "Nothing here yet."
    section = "Logins"
    place = 50
    deletable = False
    editable: tuple[str, ...] | None = None
    panels: tuple[Panel, ...] = ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.deletable and super().has_delete_permission(request, obj)

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        return [*self.inlines, *_INLINES[self.model]]

    def get_editable(self, request: HttpRequest, obj: Any) -> tuple[str, ...] | None:
        """Which fields may be typed into on this row; None means every field that is not read-only by itself."""
        return self.editable

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        given = list(super().get_readonly_fields(request, obj))
        editable = self.get_editable(request, obj) if obj is not None else None
        if editable is None:
            return given
        if self.fieldsets or self.fields:
            every = flatten_fieldsets(self.get_fieldsets(request, obj))
        else:
            every = [field.name for field in self.model._meta.fields if field.editable]
        return [*given, *(name for name in every if name not in editable and name not in given)]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Write only what was typed: a whole-row save would put back a status that somebody moved meanwhile."""
        if not change:
            obj.save()
            return
        concrete = {field.name for field in obj._meta.concrete_fields}
        if changed := [name for name in form.changed_data if name in concrete]:
            obj.save(update_fields=changed)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        row = self.get_object(request, admin.utils.unquote(object_id)) if object_id else None
        context = {
            "called": self.get_called(),
            **(extra_context or {}),
            **(self.page_context(request, row) if row is not None else {}),
        }
        with timezone.override(show.zone_of(row)):
            try:
                response = super().changeform_view(request, object_id, form_url, context)
            except (IntegrityError, DataError, models.ProtectedError) as refused:
                words = (
                    "Not removed: something else still needs it. Switch it off instead."
                    if isinstance(refused, models.ProtectedError)
                    else sentence_of(refused)
                )
                self.message_user(request, words, messages.ERROR)
                return HttpResponseRedirect(request.get_full_path())
            return response.render() if hasattr(response, "render") else response

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What the page of an existing row shows besides its fields."""
        panels = [(panel, panel.draw(row, request)) for panel in (*self.panels, *_PANELS[self.model])]
        readonly = set(self.get_readonly_fields(request, row))
        typed = [name for name in flatten_fieldsets(self.get_fieldsets(request, row)) if name not in readonly]
        return {
            "title": self.page_title(row),
            "subtitle": None,
            "status": show.state(row) if hasattr(row, "status") else "",
            "panels_first": [(panel.title, html) for panel, html in panels if panel.first],
            "panels": [(panel.title, html) for panel, html in panels if not panel.first],
            "changes": changes_of(row),
            "show_save_and_add_another": False,
            "show_save_and_continue": False,
            "can_be_typed": bool(typed) and self.has_change_permission(request, row),
        }

    def get_called(self) -> str:
        return self.called or capfirst(str(self.opts.verbose_name_plural))

    def add_label(self) -> str:
        return f"New {self.opts.verbose_name}"

    def page_title(self, row: Any) -> str:
        return str(row)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        words = {"empty": self.empty, "called": self.get_called(), "add_label": self.add_label()}
        return super().changelist_view(request, {**words, **(extra_context or {})})

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        if self.question:
            changelist.title = self.question
        return changelist


def changes_of(row: models.Model) -> list[dict[str, Any]]:
    """Every change of status of a row, the newest first, in words and in the clinic's time."""
    zone = show.zone_of(row)
    field = next((field for field in row._meta.fields if field.name == "status"), None)
    labels = dict(field.choices or ()) if field else {}
    found = StatusChange.objects.filter(subject=row._meta.label, subject_id=str(row.pk)).order_by("-at", "-pk")
    return [
        {
            "became": show.badge(change.became, str(labels.get(change.became, change.became))),
            "was": labels.get(change.was, change.was),
            "by": change.by,
            "when": show.when(change.at, zone),
            "reason": change.reason,
        }
        for change in found
    ]
