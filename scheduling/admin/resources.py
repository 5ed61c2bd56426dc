"""What can be busy, and when it is open: plain forms, because nothing moves by changing them; closing does."""

from django import forms
from django.contrib import admin
from django.utils.timezone import now

from clinic.admin import show
from clinic.admin.pages import DateInput, LabelledFormSet, Panel, Scoped, VisibleRelatedFilter
from clinic.admin.steps import StepAction, StepAdmin, StepForm, add_page
from clinic.clock import short_day
from clinic.desk import DAYS
from clinic.models import Site
from scheduling import hours
from scheduling.models import Closure, Holiday, OpeningHours, Resource
from scheduling.models.protocol import ResourceKind


class HoursInline(Scoped, admin.TabularInline):
    model = OpeningHours
    extra = 0
    formset = LabelledFormSet
    fields = ("weekday", "opens", "closes", "first_day", "last_day")
    verbose_name_plural = "Own opening hours (none: those of the clinic)"

    def get_formset(self, request, obj=None, **kwargs):
        formset = super().get_formset(request, obj, **kwargs)

        class OfTheResourcesSite(formset):
            def save_new(self, form, commit=True):
                form.instance.site = self.instance.site
                return super().save_new(form, commit)

        return OfTheResourcesSite


@admin.register(Resource)
class ResourceAdmin(StepAdmin):
    section, place = DAYS, 30
    called = "Rooms and people"
    question = "Which rooms, devices and people can be booked?"
    empty = "None yet. Add a row for each room, device and person: each can be in one place at a time."
    list_display = ("name", "kind", "can", "practitioner", "active", "site")
    list_filter = ("kind", "active", ("site", VisibleRelatedFilter))
    list_select_related = ("practitioner", "site")
    search_fields = ("name",)
    ordering = ("kind", "name", "pk")
    fieldsets = (
        ("What is it?", {"fields": ("name", "kind", "site", "practitioner", "active")}),
        ("What can it do?", {"fields": ("capabilities",)}),
    )
    editable = ("name", "capabilities", "active")
    shows_next = False
    added_by_form = True
    inlines = (HoursInline,)
    panels = (
        Panel("Booked from now on", lambda resource, request: ahead_of(resource)),
        Panel("Closures", lambda resource, request: closures_of(resource)),
    )
    steps = (
        StepAction(
            name="close",
            label="Close for a time",
            page=lambda resource: add_page(Closure, resource=resource.pk),
            permission="scheduling.add_closure",
        ),
    )

    def get_queryset(self, request):
        return super().get_queryset(request).exclude(kind=ResourceKind.PATIENT)

    def formfield_for_choice_field(self, db_field, request, **kwargs):
        if db_field.name == "kind":
            kwargs["choices"] = [pair for pair in ResourceKind.choices if pair[0] != ResourceKind.PATIENT]
        return super().formfield_for_choice_field(db_field, request, **kwargs)

    @admin.display(description="Able to")
    def can(self, resource):
        return ", ".join(resource.capabilities) or show.NOTHING


@admin.register(OpeningHours)
class OpeningHoursAdmin(StepAdmin):
    section, place = DAYS, 40
    question = "When are we open?"
    empty = "No hours yet: nothing can be booked until the clinic is open on some day."
    list_display = ("weekday", "hours", "period", "whose", "site")
    list_filter = ("weekday", ("site", VisibleRelatedFilter))
    list_select_related = ("site", "resource")
    fields = ("site", "weekday", "opens", "closes", "first_day", "last_day", "resource")
    editable = ("weekday", "opens", "closes", "first_day", "last_day")
    autocomplete_fields = ("resource",)
    deletable = True
    shows_next = False
    added_by_form = True

    @admin.display(description="Open", ordering="opens")
    def hours(self, row):
        return f"{row.opens:%H:%M}-{row.closes:%H:%M}"

    @admin.display(description="In the days", ordering="first_day")
    def period(self, row):
        if row.first_day is None and row.last_day is None:
            return "always"
        said = [
            row.first_day and f"from {short_day(row.first_day)}",
            row.last_day and f"to {short_day(row.last_day)}",
        ]
        return " ".join(words for words in said if words)

    @admin.display(description="For")
    def whose(self, row):
        return str(row.resource) if row.resource else "the whole clinic"


class HolidayForm(StepForm):
    site = forms.ModelChoiceField(Site.objects.order_by("name"), label="Which clinic?")
    day = forms.DateField(label="Which day?", widget=DateInput)
    name = forms.CharField(label="What is it called?", max_length=80, help_text="For example New Year's Day.")


@admin.register(Holiday)
class HolidayAdmin(StepAdmin):
    section, place = DAYS, 45
    question = "On which days is the whole clinic closed?"
    empty = "No holidays yet. On a holiday nothing can be booked; a day that somebody is booked on is refused."
    list_display = ("name", "day", "site")
    list_filter = (("site", VisibleRelatedFilter),)
    list_select_related = ("site",)
    search_fields = ("name",)
    fields = ("name", "day", "site")
    deletable = True
    shows_next = False
    adding = StepAction(
        name="add",
        label="Add a holiday",
        take=hours.add_holiday,
        form=HolidayForm,
        consequence="Nothing can be booked on that day any more.",
        done=lambda holiday: f"The clinic is closed on {short_day(holiday.day)}.",
    )


def ahead_of(resource):
    """The next reservations of a resource, from the present hour on."""
    zone = resource.site.zone
    found = resource.reservations.filter(live=True, step__isnull=False, during__endswith__gt=now())
    found = found.select_related("step__appointment__episode__patient").order_by("during")[:20]
    rows = ((show.during(row.during, zone), row.step, show.link(row.step.appointment)) for row in found)
    return show.table(("When", "Step", "Appointment"), rows, empty="Nothing is booked.")


def closures_of(resource):
    zone = resource.site.zone
    rows = (
        (
            show.link(closure, closure.reason),
            show.during(closure.during, zone),
            "reopened" if closure.reopened_at else "closed",
            closure.closed_by,
        )
        for closure in resource.closures.order_by("-during")[:20]
    )
    return show.table(("Why", "When", "State", "By"), rows, empty='None. Choose "Close for a time" above.')
