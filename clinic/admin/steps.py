"""How the desk takes a step. An admin declares its steps as data; the page of a row offers only those that are legal
now; each leads to a page that says the consequence in words; a POST calls one step function with who and when.
What the step refuses is shown as its own sentence, and nothing has changed."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import DataError, IntegrityError, models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from clinic.admin import show
from clinic.admin.pages import DeskAdmin, sentence_of, visible
from clinic.models import Site
from clinic.status import StepRefused


class StepForm(forms.Form):
    """What a step wants to know. `row` is what the step is about (None when it makes a new one). Choices are limited
    to what `user` may see; times are the site's wall-clock times. `tables` are formsets: name -> (title, class)."""

    tables: ClassVar[dict[str, tuple[str, Any]]] = {}
    sections: ClassVar[tuple[tuple[str, tuple[str, ...]], ...]] = ()
    template = "admin/desk/step.html"

    def __init__(self, *args: Any, row: Any = None, user: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.row, self.user = row, user
        for field in self.fields.values():
            if isinstance(field, forms.ModelChoiceField) and field.queryset is not None:
                field.queryset = visible(field.queryset, user)
        self.formsets = {
            name: make(self.data if self.is_bound else None, prefix=name, initial=self.initial_rows(name))
            for name, (_, make) in self.tables.items()
        }
        self.prepare()

    def prepare(self) -> None:
        """Narrow choices and set first values with what `self.row` says."""

    def initial_rows(self, name: str) -> list[dict[str, Any]]:
        return []

    def is_valid(self) -> bool:
        own = super().is_valid()
        return all([own, *(formset.is_valid() for formset in self.formsets.values())])

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for the step function."""
        filled = {
            name: [form.cleaned_data for form in formset if form.has_changed() or form.initial]
            for name, formset in self.formsets.items()
        }
        return {**self.cleaned_data, **filled}

    def shown_sections(self) -> list[tuple[str, list[Any]]]:
        if not self.sections:
            return [("", [field for field in self if not field.is_hidden])]
        return [(title, [self[name] for name in names if name in self.fields]) for title, names in self.sections]

    def shown_tables(self) -> list[tuple[str, Any]]:
        return [(title, self.formsets[name]) for name, (title, _) in self.tables.items()]


class ReasonForm(StepForm):
    """For a step that wants to know why."""

    reason = forms.CharField(
        label="Why?",
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="One sentence. It is kept with the change, with your name and the time.",
    )


@dataclass(frozen=True)
class StepAction:
    """One step as the desk offers it. `take(row, *, by, at, **arguments)` is the step function; for a step that makes
    a new row it has no subject. `available(row)` says whether it is legal now and may not ask the database.
    `consequence` and `done` say before and after what happens to whom and what comes next."""

    name: str
    label: str
    take: Callable[..., Any] | None = None
    form: type[StepForm] = StepForm
    available: Callable[[Any], bool] = lambda row: True
    consequence: str | Callable[[Any], str] = ""
    done: str | Callable[[Any], str] = ""
    permission: str = ""
    destructive: bool = False
    main: bool | Callable[[Any], bool] = False  # whether it is the one step that usually comes next
    page: Callable[[Any], str] | None = None  # a page of its own instead of the plain form
    then: Callable[[Any], models.Model | None] | None = None  # whose page follows, given what the step returned

    def says(self, words: str | Callable[[Any], str], row: Any) -> str:
        return words(row) if callable(words) else words

    def comes_next(self, row: Any) -> bool:
        return self.main(row) if callable(self.main) else self.main


def can_become(moves: Mapping[str, set[str]], *targets: str) -> Callable[[Any], bool]:
    """Whether the table of legal moves leads from the row's status to one of `targets`."""
    return lambda row: bool(moves[row.status] & set(targets))


_STEPS: dict[type[models.Model], list[StepAction]] = defaultdict(list)


def add_steps(model: type[models.Model], *steps: StepAction) -> None:
    """Offer more steps on the page of a lower app's model."""
    _STEPS[model].extend(steps)


class StepAdmin(DeskAdmin):
    """A page whose row changes by steps. `adding` is the step that makes a new row; things that have no story of their
    own, such as a room, are `added_by_form` instead."""

    steps: tuple[StepAction, ...] = ()
    adding: StepAction | None = None
    added_by_form = False
    editable = ()
    shows_next = True  # the last column of the list: the step that usually comes next

    def all_steps(self) -> list[StepAction]:
        return [*self.steps, *_STEPS[self.model]]

    def may(self, request: HttpRequest, step: StepAction) -> bool:
        change = f"{self.opts.app_label}.change_{self.opts.model_name}"
        return request.user.has_perm(step.permission or change)

    def legal_steps(self, request: HttpRequest, row: Any) -> list[StepAction]:
        return [step for step in self.all_steps() if step.available(row) and self.may(request, step)]

    def url_of(self, step: StepAction, row: Any) -> str:
        return step.page(row) if step.page else show.step_page(row, step.name)

    # The list: what can be done next, as the last column.

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        @admin.display(description="Next")
        def next_step(row: Any) -> SafeString:
            steps = [step for step in self.legal_steps(request, row) if step.comes_next(row)]
            if not steps:
                return show.NOTHING
            return format_html('<a class="next" href="{}">{}</a>', self.url_of(steps[0], row), steps[0].label)

        columns = super().get_list_display(request)
        return [*columns, next_step] if self.shows_next else list(columns)

    # The page of a row: what can happen now.

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        steps = [
            {
                "label": step.label,
                "url": self.url_of(step, row),
                "destructive": step.destructive,
                "main": step.comes_next(row),
            }
            for step in sorted(self.legal_steps(request, row), key=lambda step: step.destructive)
        ]
        return {**super().page_context(request, row), "possible": steps, "takes_steps": True}

    # Taking a step.

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_step"
        view = self.admin_site.admin_view(self.step_view)
        return [path("<path:object_id>/step/<slug:name>/", view, name=name), *super().get_urls()]

    def step_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        row = self.get_object(request, admin.utils.unquote(object_id))
        step = next((step for step in self.all_steps() if step.name == name), None)
        if row is None or step is None:
            raise Http404("There is no such page.")
        if not self.may(request, step):
            raise PermissionDenied
        if not step.available(row):
            self.message_user(request, self.too_late(row, step), messages.WARNING)
            return HttpResponseRedirect(show.page_of(row))
        if step.page:
            return HttpResponseRedirect(step.page(row))
        with timezone.override(show.zone_of(row)):
            return self.ask_or_take(request, step, row)

    def too_late(self, row: Any, step: StepAction) -> str:
        status = row.get_status_display().lower() if hasattr(row, "status") else "changed"
        return f'{row} is now: {status}. "{step.label}" is not possible any more.'

    def ask_or_take(self, request: HttpRequest, step: StepAction, row: Any) -> HttpResponse:
        given = {"row": row, "user": request.user}
        form = step.form(request.POST, request.FILES, **given) if request.method == "POST" else None
        if form is None:
            form = step.form(initial=first_values(step.form, request), **given)
        elif form.is_valid() and (response := self.take(request, step, row, form)):
            return response
        return render(request, form.template, self.step_context(request, step, row, form))

    def take(self, request: HttpRequest, step: StepAction, row: Any, form: StepForm) -> HttpResponse | None:
        """Call the step once. None if it was refused; then the form says why."""
        who_and_when = {"by": request.user.get_username(), "at": timezone.now()}
        subject = () if row is None else (row,)
        try:
            result = step.take(*subject, **form.arguments(), **who_and_when)  # type: ignore[misc]
        except StepRefused as refused:
            form.add_error(None, str(refused))
            return None
        except (IntegrityError, DataError) as refused:
            form.add_error(None, sentence_of(refused))
            return None
        except ValidationError as refused:
            form.add_error(None, refused.messages)
            return None
        shown = step.then(result) if step.then else (row if row is not None else result)
        words = step.says(step.done, result if result is not None else row) or f"Done: {step.label.lower()}."
        self.message_user(request, words, messages.SUCCESS)
        return HttpResponseRedirect(show.page_of(shown) if shown is not None else show.list_of(self.model))

    def step_context(self, request: HttpRequest, step: StepAction, row: Any, form: StepForm) -> dict[str, Any]:
        back = show.page_of(row) if row is not None else show.list_of(self.model)
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "called": self.get_called(),
            "title": step.label,
            "subtitle": None,
            "row": row,
            "row_title": self.page_title(row) if row is not None else "",
            "step": step,
            "consequence": step.says(step.consequence, row),
            "form": form,
            "media": self.media + form.media,
            "back": back,
            "zone": show.zone_of(row) if row is not None else timezone.get_current_timezone(),
        }

    # Adding goes through a step too.

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(self.adding or self.added_by_form) and super().has_add_permission(request)

    def add_label(self) -> str:
        return self.adding.label if self.adding else super().add_label()

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        if self.adding is None:
            return super().add_view(request, form_url, extra_context)
        site = Site.objects.visible_to(request.user).order_by("pk").first()
        with timezone.override(site.zone if site else timezone.get_default_timezone()):
            return self.ask_or_take(request, self.adding, None)


def first_values(form: type[StepForm], request: HttpRequest) -> dict[str, str]:
    """What the address already says about the form's fields (`?patient=...`)."""
    return {name: request.GET[name] for name in form.base_fields if name in request.GET}


def add_page(model: type[models.Model], **values: Any) -> str:
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_add")
    return f"{url}?{urlencode(values)}" if values else url
