"""Step 3 at the desk: one day of one patient, with everyone and everything it needs, from the hold to the end."""

from datetime import datetime, timedelta

from django import forms
from django.contrib import admin
from django.db.models import Q
from django.utils.timezone import now

from clinic import clock
from clinic.admin import show
from clinic.admin.pages import FirstIsDefault, Panel, VisibleRelatedFilter
from clinic.admin.steps import ReasonForm, StepAction, StepAdmin, StepForm, can_become
from clinic.desk import DAYS
from scheduling import bookings, cells, preparation
from scheduling.admin.cells import good_until
from scheduling.admin.treatments import OfOneTreatment
from scheduling.models import Appointment, Harvest, Reservation, Resource
from scheduling.models.appointment import ReservationKind
from scheduling.models.product import CellSource, Tissue
from scheduling.models.protocol import ResourceKind, StepCode, Visit
from scheduling.states import APPOINTMENT_MOVES, AppointmentStatus

S = AppointmentStatus


class HarvestForm(StepForm):
    tissue = forms.ChoiceField(label="What was taken?", choices=Tissue.choices)
    kit = forms.CharField(
        label="Kit id", max_length=60, help_text="As on the label. It is read again at the injection."
    )
    volume_ml = forms.DecimalField(label="Volume (mL)", min_value=0, max_digits=6, decimal_places=1)


class SeenForm(ReasonForm):
    """It remembers which state of the row it showed: a form that was left open overnight changes nothing unseen."""

    seen = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def prepare(self):
        self.fields["seen"].initial = self.row.revision

    def arguments(self):
        given = super().arguments()
        seen = given.pop("seen")
        return given | {"seen": None if seen is None else {seen}}


class ResourceChoice(forms.ModelChoiceField):
    def label_from_instance(self, resource):
        return f"{resource.get_kind_display()}: {resource}"


class SwapForm(SeenForm):
    field_order = ("out", "into", "reason")
    out = ResourceChoice(Resource.objects.exclude(kind=ResourceKind.PATIENT), label="What or who drops out?")
    into = ResourceChoice(
        Resource.objects.exclude(kind=ResourceKind.PATIENT).filter(active=True),
        label="What or who takes its place?",
        help_text="Of the same kind, and free at that time.",
    )

    def prepare(self):
        super().prepare()
        taken = Reservation.objects.filter(step__appointment=self.row, live=True).values("resource")
        out, into = self.fields["out"], self.fields["into"]
        out.queryset = out.queryset.filter(pk__in=taken).order_by("kind", "name")
        into.queryset = into.queryset.filter(site=self.row.site, kind__in=out.queryset.values("kind"))
        into.queryset = into.queryset.order_by("kind", "name")


class WhenFilter(FirstIsDefault):
    title = "when"
    parameter_name = "when"

    def lookups(self, request, model_admin):
        return (("ahead", "From today on"), ("week", "The next 7 days"), ("past", "Past"), ("all", "All"))

    def queryset(self, request, queryset):
        at = now()
        today = at - timedelta(hours=12)  # the whole of today, wherever the clinic is
        return {
            "ahead": queryset.filter(during__endswith__gte=today),
            "week": queryset.filter(during__endswith__gte=today, during__startswith__lt=at + timedelta(days=7)),
            "past": queryset.filter(during__endswith__lt=at).order_by("-during"),
        }.get(self.value(), queryset)


def holds_harvest(appointment) -> bool:
    """Whether cells are taken from the patient on this day."""
    same_day = appointment.episode.protocol.product.source == CellSource.SAME_SESSION
    return appointment.visit == Visit.HARVEST or (appointment.visit == Visit.PROCEDURE and same_day)


def harvested(appointment) -> bool:
    return Harvest.objects.filter(appointment=appointment).exists()


def named(appointment) -> str:
    starts = clock.spoken(appointment.during.lower, appointment.site.zone)
    return f"{appointment.get_visit_display()} of {appointment.episode.patient}, {starts}"


@admin.register(Appointment)
class AppointmentAdmin(OfOneTreatment, StepAdmin):
    section, place = DAYS, 10
    question = "Who comes when?"
    empty = "Nothing booked yet. A time is found and booked on the page of a treatment."
    list_display = ("patient_name", "visit", "when", "status_shown", "treatment")
    list_filter = ("status", WhenFilter, "visit", ("site", VisibleRelatedFilter))
    list_select_related = ("episode__patient", "episode__protocol__product", "site")
    search_fields = ("episode__patient__family_name", "episode__patient__given_name", "episode__patient__mrn")
    ordering = ("during", "pk")
    fieldsets = ((None, {"fields": ("patient_link", "treatment_link", "visit", "when")}),)
    readonly_fields = ("patient_link", "when", "held", "treatment_link")
    panels = (
        Panel("Who and what, step by step", lambda appointment, request: steps_of(appointment)),
        Panel("Cells for this day", lambda appointment, request: cells_of(appointment)),
    )
    steps = (
        StepAction(
            name="book",
            label="Book what is held",
            take=bookings.book,
            available=lambda appointment: appointment.status == S.HELD and appointment.instead_of_id is None,
            consequence="The time is booked and the patient is told by e-mail.",
            done=lambda appointment: f"Booked: {named(appointment)}. The patient is told by e-mail.",
            main=True,
        ),
        StepAction(
            name="confirm",
            label="The patient confirmed",
            take=bookings.confirm,
            available=can_become(APPOINTMENT_MOVES, S.CONFIRMED),
            consequence="Record that the patient said: I will come.",
            done=lambda appointment: f"Confirmed: {named(appointment)}.",
            main=True,
        ),
        StepAction(
            name="swap",
            label="Swap a room, a device or a person",
            take=bookings.swap,
            form=SwapForm,
            available=lambda appointment: appointment.status in bookings.UNFINISHED,
            consequence="The time stays. Whoever or whatever takes over has every step of the visit that is still to "
            "come; both calendars show it. The patient is not told: nothing changes for them.",
            done=lambda appointment: f"Swapped: {named(appointment)}. The time is the same.",
        ),
        StepAction(
            name="arrive",
            label="The patient has arrived",
            take=bookings.arrive,
            available=can_become(APPOINTMENT_MOVES, S.ARRIVED),
            consequence="The day begins. From now on it can no longer be moved.",
            done=lambda appointment: f"{appointment.episode.patient} has arrived.",
            main=lambda appointment: appointment.status == S.CONFIRMED,
        ),
        StepAction(
            name="harvest",
            label="Record the harvest",
            take=preparation.record_harvest,
            form=HarvestForm,
            available=lambda appointment: appointment.status == S.ARRIVED and holds_harvest(appointment),
            permission="scheduling.add_harvest",
            consequence="What was taken from the patient. The kit id ties the cells to this patient until they are "
            "injected.",
            done=lambda harvest: f"Kit {harvest.kit} is recorded. Next: say when it is processed and ready.",
            then=lambda harvest: harvest,
        ),
        StepAction(
            name="allocate",
            label="Allocate the units that are missing",
            take=preparation.replace_unit,
            available=lambda appointment: (
                appointment.status in cells.AHEAD
                and appointment.visit == Visit.PROCEDURE
                and appointment.episode.protocol.product.source == CellSource.ALLOGENEIC
            ),
            consequence="Units that are released, unreserved and in date are given to this day, the first to expire "
            "first. If the day has all it needs, nothing changes.",
            done=lambda units: f"Allocated: {', '.join(str(unit) for unit in units) or 'nothing was missing'}.",
        ),
        StepAction(
            name="fulfil",
            label="Done: the visit took place",
            take=bookings.fulfil,
            available=lambda appointment: appointment.status == S.ARRIVED and appointment.visit != Visit.PROCEDURE,
            consequence="The visit is complete. It cannot be undone.",
            done=lambda appointment: f"Done: {named(appointment)}.",
            main=True,
        ),
        StepAction(
            name="noshow",
            label="The patient did not come",
            take=bookings.no_show,
            form=ReasonForm,
            available=can_become(APPOINTMENT_MOVES, S.NOSHOW),
            consequence="The rooms and people are free again. Follow-up dates that hang on this day are dropped "
            "until a "
            "new day is booked. It cannot be undone.",
            done=lambda appointment: f"Recorded: {appointment.episode.patient} did not come. Next: find a new time.",
            destructive=True,
        ),
        StepAction(
            name="cancel",
            label="Cancel",
            take=bookings.cancel,
            form=SeenForm,
            available=can_become(APPOINTMENT_MOVES, S.CANCELLED),
            consequence=lambda appointment: (
                f"{named(appointment)} is given up. Rooms, people and cells are free at once "
                "and the patient is told by e-mail. To undo: book a new time, if it is still free."
            ),
            done=lambda appointment: (
                f"Cancelled: {named(appointment)}. The patient is told by e-mail. Next: find a new time."
            ),
            destructive=True,
        ),
    )

    def get_queryset(self, request):
        return super().get_queryset(request).select_related("episode__patient", "episode__protocol__product", "site")

    def get_fieldsets(self, request, appointment=None):
        if appointment is None or appointment.status != S.HELD:
            return self.fieldsets
        return ((None, {"fields": (*self.fieldsets[0][1]["fields"], "held")}),)

    def page_title(self, appointment):
        return f"{appointment.get_visit_display()} of {appointment.episode.patient}"

    @admin.display(description="When", ordering="during")
    def when(self, appointment):
        return show.during(appointment.during, appointment.site.zone)

    @admin.display(description="Held until")
    def held(self, appointment):
        held = appointment.held_until if appointment.status == S.HELD else None
        return show.when(held, appointment.site.zone)

    @admin.display(description="State", ordering="status")
    def status_shown(self, appointment):
        return show.state(appointment)

    @admin.display(description="Treatment", ordering="episode__protocol__name")
    def treatment(self, appointment):
        return appointment.episode.protocol.name


def hours(period, zone) -> str:
    return f"{period.lower.astimezone(zone):%H:%M}-{period.upper.astimezone(zone):%H:%M}"


def steps_of(appointment):
    """Each step of the day with its time, its rooms and its people."""
    zone = appointment.site.zone
    rows = []
    for step in appointment.steps.prefetch_related("reservations__resource").order_by("order"):
        taken = [
            row.resource
            for row in step.reservations.all()
            if row.kind == ReservationKind.STEP
            and row.resource.patient_id is None
            and (row.live or not is_live(appointment))
        ]
        names = sorted(taken, key=lambda resource: (resource.practitioner_id is None, resource.name))
        late = step.code == StepCode.INJECTION and too_late_for_its_cells(appointment)
        shown = show.badge("fail", f"{step}: too late for its cells") if late else step
        rows.append((shown, hours(step.during, zone), ", ".join(dict.fromkeys(resource.name for resource in names))))
    return show.table(("Step", "Time", "Who and what"), rows, empty="No steps.")


def too_late_for_its_cells(appointment) -> bool:
    return cells.past_use_by(at=now()).filter(appointment=appointment).exists()


def is_live(appointment) -> bool:
    return appointment.status not in (S.CANCELLED, S.NOSHOW)


def cells_of(appointment):
    """The units or the harvest for this day, each leading to its own page."""
    units = [
        (
            show.link(unit),
            unit.lot.product.name,
            show.state(unit),
            good_until(unit),
        )
        for unit in appointment.units.select_related("lot__product", "lot__site").order_by("identifier")
    ]
    harvests = Harvest.objects.filter(appointment__episode=appointment.episode).order_by("harvested_at")
    own = [
        (
            show.link(harvest),
            harvest.get_tissue_display(),
            show.state(harvest),
            show.when(harvest.harvested_at, appointment.site.zone),
        )
        for harvest in harvests
    ]
    empty = (
        "None yet. The patient's own cells are recorded once the patient has arrived."
        if appointment.episode.protocol.product.source != CellSource.ALLOGENEIC
        else "None on this day."
    )
    return show.table(("Cells", "What", "State", "Good until, or taken"), [*units, *own], empty=empty)


def unconfirmed(user, at: datetime):
    """Booked for the next seven days, and not confirmed yet."""
    soon = Q(during__startswith__gte=at, during__startswith__lt=at + timedelta(days=7))
    rows = Appointment.objects.visible_to(user).filter(soon, status=S.BOOKED)
    return rows.select_related("episode__patient", "site").order_by("during", "pk")


def held(user, at: datetime):
    """Kept for a patient who is deciding, and about to lapse."""
    rows = Appointment.objects.visible_to(user).filter(status=S.HELD, held_until__gt=at, instead_of=None)
    return rows.select_related("episode__patient", "site").order_by("held_until", "pk")
