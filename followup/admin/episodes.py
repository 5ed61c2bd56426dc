"""The page of one treatment: its eight steps as a vertical time line, what is due and when, what was said to the
patient, and what changed. Everything a coordinator does about it starts here."""

from django.apps import apps
from django.contrib import admin
from django.db.models import Exists, OuterRef
from django.template.loader import render_to_string
from django.urls import path, reverse
from django.utils import timezone

from clinic.admin import show
from clinic.admin.messages import messages_panel
from clinic.admin.pages import Panel, VisibleRelatedFilter, add_panels
from clinic.admin.steps import ReasonForm, StepAction, StepAdmin, can_become
from clinic.desk import PEOPLE
from clinic.models import Patient
from followup import journey, outcomes, recovery
from followup.admin import dates, finder
from followup.admin.chart import outcome_of
from scheduling import bookings
from scheduling.models import Appointment, Episode
from scheduling.models.product import CellSource
from scheduling.models.protocol import Visit
from scheduling.states import APPOINTMENT_LIVE, EPISODE_MOVES, EpisodeStatus

S = EpisodeStatus


class BookedFilter(admin.SimpleListFilter):
    title = "procedure day"
    parameter_name = "booked"

    def lookups(self, request, model_admin):
        return (("no", "Not booked yet"), ("yes", "Booked, or done"))

    def queryset(self, request, queryset):
        if self.value() == "no":
            return queryset.filter(procedure_booked=False, status=S.PLANNED)
        return queryset.filter(procedure_booked=True) if self.value() == "yes" else queryset


def live(visit):
    return Exists(Appointment.objects.filter(episode=OuterRef("pk"), visit=visit, status__in=APPOINTMENT_LIVE))


def expanded(episode) -> bool:
    return episode.protocol.product.source == CellSource.EXPANDED


def wants_harvest(episode) -> bool:
    return episode.status == S.PLANNED and expanded(episode) and not episode.harvest_booked


def wants_procedure(episode) -> bool:
    return episode.status == S.PLANNED and not episode.procedure_booked


SIGNS = {journey.State.DONE: "✓", journey.State.ENDED: "✕"}


def path_of(episode, request):
    """The eight steps, one below the other: what is done, what is next with its actions, what comes later and when."""
    desk = admin.site.get_model_admin(Episode)
    actions = [
        {"label": step.label, "url": desk.url_of(step, episode)}
        for step in desk.legal_steps(request, episode)
        if step.comes_next(episode)
    ]
    steps = [
        {
            "number": step.number,
            "name": step.name,
            "state": step.state.value,
            "sign": SIGNS.get(step.state, step.number),
            "summary": step.summary,
            "dates": span(step),
            "links": [link for target in step.targets if (link := link_to(target))],
            "actions": actions if step.state is journey.State.NEXT else [],
        }
        for step in journey.story(episode, at=timezone.now())
    ]
    return render_to_string("admin/desk/path.html", {"steps": steps})


def span(step):
    if step.on and step.until and step.until != step.on:
        return show.days(step.on, step.until)
    return show.day(step.on or step.until) if step.on or step.until else ""


def link_to(target):
    """The page of what a step left behind, if the desk has one for it."""
    model = apps.get_model(target.app, target.model)
    if not admin.site.is_registered(model):
        return None
    url = reverse(f"admin:{target.app}_{target.model}_change", args=[target.pk])
    return {"url": url, "words": target.words}


@admin.register(Episode)
class EpisodeAdmin(StepAdmin):
    section, place = PEOPLE, 60
    called = "Treatments"
    question = "Who is being treated, and where do they stand?"
    empty = 'None yet. A treatment begins on the page of a signed verdict: "Plan the treatment".'
    list_display = ("patient_name", "treatment", "levels", "status_shown", "anchor", "opened")
    list_filter = ("status", BookedFilter, "protocol", ("patient__site", VisibleRelatedFilter))
    list_select_related = ("patient__site", "protocol__product")
    search_fields = ("patient__family_name", "patient__given_name", "patient__mrn")
    ordering = ("-opened_at", "pk")
    fieldsets = (
        (
            "What is planned?",
            {"fields": ("patient_link", "treatment_link", "levels", "anchor", "verdict_link", "regulatory")},
        ),
    )
    readonly_fields = ("patient_link", "treatment_link", "levels", "anchor", "verdict_link", "regulatory")
    panels = (
        Panel("The path", path_of, first=True),
        Panel("Did it help?", lambda episode, request: outcome_of(episode)),
        Panel("What is due, and when", lambda episode, request: dates.events_of(episode)),
        Panel("Appointments", lambda episode, request: appointments_of(episode)),
        Panel("What the patient may do", lambda episode, request: stages_of(episode)),
        Panel("What we said to this patient", lambda episode, request: messages_panel(episode.patient)),
    )
    steps = (
        StepAction(
            name="find-harvest",
            label="Find a time for the harvest",
            page=finder.page_for(Visit.HARVEST),
            available=wants_harvest,
            permission="scheduling.add_appointment",
            main=True,
        ),
        StepAction(
            name="find-procedure",
            label="Find a time for the procedure",
            page=finder.page_for(Visit.PROCEDURE),
            available=wants_procedure,
            permission="scheduling.add_appointment",
            main=lambda episode: not (expanded(episode) and not episode.harvest_booked),
        ),
        StepAction(
            name="dates",
            label="Dates to print or save",
            page=dates.page_of_dates,
            available=dates.has_dates,
            permission="followup.view_followupevent",
        ),
        StepAction(
            name="complete",
            label="Complete",
            take=outcomes.complete,
            available=can_become(EPISODE_MOVES, S.COMPLETED),
            consequence="The follow-up ends here. It cannot be undone. What is still open must be done or waived "
            "first.",
            done=lambda episode: f"The follow-up of {episode.patient} is complete.",
        ),
        StepAction(
            name="lose",
            label="Lost to follow-up",
            take=outcomes.lose,
            form=ReasonForm,
            available=can_become(EPISODE_MOVES, S.LOST),
            consequence="Nobody asks this patient any more and no more messages are sent about this treatment. The "
            "patient "
            "stays in every count, as lost.",
            done=lambda episode: f"{episode.patient} is lost to follow-up.",
            destructive=True,
        ),
        StepAction(
            name="cancel",
            label="Cancel the treatment",
            take=bookings.cancel_episode,
            form=ReasonForm,
            available=can_become(EPISODE_MOVES, S.CANCELLED),
            consequence="Every visit still ahead is cancelled, its rooms and people are free at once, and the "
            "patient is told. "
            "Nothing more is due. It cannot be undone; a new treatment needs a new verdict.",
            done=lambda episode: f"The treatment of {episode.patient} is cancelled, with every visit ahead.",
            destructive=True,
        ),
    )

    def get_queryset(self, request):
        booked = {"procedure_booked": live(Visit.PROCEDURE), "harvest_booked": live(Visit.HARVEST)}
        return super().get_queryset(request).select_related("patient__site", "protocol__product").annotate(**booked)

    def get_urls(self):
        pages = (
            ("find/", finder.find_a_time, "find"),
            ("dates/", dates.sheet, "dates"),
            ("dates.csv", dates.as_csv, "dates_csv"),
        )
        own = [
            path(f"<uuid:object_id>/{end}", self.admin_site.admin_view(view), name=f"scheduling_episode_{name}")
            for end, view, name in pages
        ]
        return [*own, *super().get_urls()]

    @admin.display(description="Patient", ordering="patient__family_name")
    def patient_name(self, episode):
        return str(episode.patient)

    @admin.display(description="Patient")
    def patient_link(self, episode):
        return show.link(episode.patient)

    @admin.display(description="Treatment", ordering="protocol__name")
    def treatment(self, episode):
        return episode.protocol.name

    @admin.display(description="Treatment")
    def treatment_link(self, episode):
        return show.link(episode.protocol)

    @admin.display(description="Discs")
    def levels(self, episode):
        return ", ".join(episode.target_levels)

    @admin.display(description="Injection", ordering="anchor_at")
    def anchor(self, episode):
        if episode.anchor_at is None:
            return "not booked yet"
        words = show.when(episode.anchor_at, episode.patient.site.zone)
        return words if episode.injected else f"planned: {words}"

    @admin.display(description="Opened", ordering="opened_at")
    def opened(self, episode):
        return show.day(timezone.localtime(episode.opened_at, episode.patient.site.zone).date())

    @admin.display(description="State", ordering="status")
    def status_shown(self, episode):
        return show.state(episode)

    @admin.display(description="Signed verdict")
    def verdict_link(self, episode):
        return show.link(episode.verdict)

    @admin.display(description="Regulatory basis of the product")
    def regulatory(self, episode):
        product = episode.protocol.product
        return f"{product.get_regulatory_basis_display()}. {product.regulatory_note}".strip()


def appointments_of(episode):
    zone = episode.patient.site.zone
    rows = (
        (show.link(row, row.get_visit_display()), show.during(row.during, zone), show.state(row))
        for row in episode.appointments.order_by("during", "pk")
    )
    return show.table(("Visit", "When", "State"), rows, empty='None yet. Choose "Find a time" above.')


def stages_of(episode):
    today = timezone.localdate(timezone=episode.patient.site.zone)
    rows = (
        (
            dated.stage.name,
            f"{show.day(dated.begins_on)} - {show.day(dated.ends_on) if dated.ends_on else 'until told otherwise'}",
            standing_of(dated, today),
            dated.stage.advice,
        )
        for dated in recovery.stages(episode)
    )
    return show.table(
        ("Stage", "When", "", "What the patient may do"), rows, empty="The stages have dates once it is booked."
    )


def standing_of(dated, today):
    """Planned until the injection has taken place: its days move with it."""
    if dated.planned:
        return show.badge("planned", "planned")
    return show.badge("active", "now") if dated.includes(today) else show.NOTHING


def episodes_of(patient, request):
    rows = (
        (show.link(episode, episode.protocol.name), show.state(episode), ", ".join(episode.target_levels))
        for episode in patient.episodes.select_related("protocol").order_by("-opened_at", "pk")
    )
    return show.table(("Treatment", "State", "Discs"), rows, empty="None yet. A treatment begins on a signed verdict.")


add_panels(Patient, Panel("Treatments", episodes_of, first=True))
