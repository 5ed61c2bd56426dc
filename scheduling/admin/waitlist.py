"""Beside step 3 at the desk: who waits for a time, in the order in which they are asked, and every offer made."""

from datetime import datetime

from django import forms
from django.contrib import admin
from django.utils.html import format_html

from clinic import clock
from clinic.admin import show
from clinic.admin.pages import DateInput, FirstIsDefault, Panel, VisibleRelatedFilter
from clinic.admin.steps import ReasonForm, StepAction, StepAdmin, StepForm, add_page, add_steps, can_become
from clinic.desk import DAYS, Line, Queue, register
from scheduling import waitlist
from scheduling.admin.treatments import OfOneTreatment
from scheduling.models import Appointment, Episode, WaitlistEntry, WaitlistOffer
from scheduling.models.protocol import Visit
from scheduling.models.resource import Weekday
from scheduling.models.waitlist import WAITED_FOR
from scheduling.states import WAITLIST_MOVES, EpisodeStatus, OfferStatus, WaitlistStatus

S = OfferStatus


class WaitingFilter(FirstIsDefault):
    title = "state"
    parameter_name = "work"

    def lookups(self, request, model_admin):
        return (("waiting", "Waiting"), ("all", "All, also who has left"))

    def queryset(self, request, queryset):
        return queryset if self.value() == "all" else queryset.filter(status=WaitlistStatus.WAITING)


class AddForm(StepForm):
    episode = forms.ModelChoiceField(
        Episode.objects.filter(status=EpisodeStatus.PLANNED)
        .select_related("patient", "protocol")
        .order_by("patient__family_name", "patient__given_name", "pk"),
        label="Whose treatment?",
    )
    visit = forms.ChoiceField(
        label="Which visit?", choices=[(visit.value, visit.label) for visit in WAITED_FOR], initial=Visit.PROCEDURE
    )
    earliest = forms.DateField(label="Not before", widget=DateInput, required=False, help_text="Empty: any day.")
    latest = forms.DateField(label="Not after", widget=DateInput, required=False, help_text="Empty: any day.")
    weekdays = forms.TypedMultipleChoiceField(
        label="Only on",
        choices=Weekday.choices,
        coerce=int,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="None ticked: any day.",
    )


@admin.register(WaitlistEntry)
class WaitlistEntryAdmin(OfOneTreatment, StepAdmin):
    section, place = DAYS, 20
    called = "Waitlist"
    question = "Who has waited longest, and so is asked first?"
    empty = (
        "Nobody is waiting. Who would come sooner if a time became free is added here, or on the page of a treatment "
        f"or an appointment. {waitlist.ORDER}"
    )
    list_display = ("place_shown", "patient_name", "visit", "wants", "since", "status_shown")
    list_display_links = ("patient_name",)
    list_filter = (WaitingFilter, "visit", ("episode__patient__site", VisibleRelatedFilter))
    list_select_related = ("episode__patient__site",)
    search_fields = ("episode__patient__family_name", "episode__patient__given_name", "episode__patient__mrn")
    ordering = ("added_at", "pk")
    fieldsets = ((None, {"fields": ("patient_link", "phone", "treatment_link", "visit", "wants", "since", "turn")}),)
    readonly_fields = ("patient_link", "phone", "treatment_link", "wants", "since", "turn")
    panels = (Panel("What was offered, and what came of it", lambda entry, request: offers_of(entry)),)
    adding = StepAction(
        name="add",
        label="Add to the waitlist",
        take=lambda *, episode, **given: waitlist.add(episode, **given),
        form=AddForm,
        consequence=f"{waitlist.ORDER} A time is offered by e-mail and kept for some hours; who cannot be reached by "
        "e-mail appears on the first page, to be phoned. A booking stays until the patient accepts.",
        done=lambda entry: f"{entry.episode.patient} is on the waitlist.",
    )
    steps = (
        StepAction(
            name="withdraw",
            label="Take off the list",
            take=waitlist.withdraw,
            form=ReasonForm,
            available=can_become(WAITLIST_MOVES, WaitlistStatus.WITHDRAWN),
            consequence="No more times are offered, and one that is on offer now is taken back. A booking stays as it "
            "is. To undo: add the patient again, at the end of the list.",
            done=lambda entry: f"{entry.episode.patient} is off the waitlist.",
            destructive=True,
        ),
    )

    def get_queryset(self, request):
        return super().get_queryset(request).with_place().select_related("episode__patient__site", "episode__protocol")

    def page_title(self, entry):
        return f"{entry.episode.patient} waits for: {entry.get_visit_display().lower()}"

    @admin.display(description="Place")
    def place_shown(self, entry):
        return entry.place or show.NOTHING

    @admin.display(description="Phone")
    def phone(self, entry):
        return show.known(entry.episode.patient.phone)

    @admin.display(description="Days that would do")
    def wants(self, entry):
        return wanted(entry)

    @admin.display(description="Waiting since", ordering="added_at")
    def since(self, entry):
        return show.when(entry.added_at, entry.episode.patient.site.zone)

    @admin.display(description="Turn")
    def turn(self, entry):
        return f"Place {entry.place}. {waitlist.ORDER}" if entry.place else "Not on the list any more."

    @admin.display(description="State", ordering="status")
    def status_shown(self, entry):
        return show.state(entry)


def wanted(entry) -> str:
    """The days as people say them: "from Tue 12 May 2026, Mon or Wed"."""
    first, last = entry.earliest, entry.latest
    said = [f"from {show.day(first)}"] if first else []
    said += [f"until {show.day(last)}"] if last else []
    days = [Weekday(day).label[:3] for day in entry.weekdays]
    return ", ".join([" ".join(said)] * bool(said) + [" or ".join(days)] * bool(days)) or "any day"


def offers_of(entry):
    zone = entry.episode.patient.site.zone
    rows = [
        (
            show.when(offer.made_at, zone),
            show.link(offer, str(show.during(offer.during or offer.freed.during, zone))),
            show.state(offer),
            offer.reason or show.NOTHING,
        )
        for offer in entry.offers.select_related("freed").order_by("-made_at", "pk")
    ]
    empty = "Nothing yet. Each time that becomes free and is this patient's turn appears here."
    return show.table(("When", "Time", "What came of it", "Why"), rows, empty=empty)


class OfferFilter(FirstIsDefault):
    title = "what"
    parameter_name = "work"

    def lookups(self, request, model_admin):
        return (
            ("offers", "Offers"),
            ("open", "Waiting for an answer"),
            ("passed", "Passed over"),
            ("all", "All"),
        )

    def queryset(self, request, queryset):
        return {
            "offers": queryset.exclude(status=S.PASSED),
            "open": queryset.filter(status=S.OPEN),
            "passed": queryset.filter(status=S.PASSED),
        }.get(self.value(), queryset)


def is_open(offer) -> bool:
    return offer.status == S.OPEN


@admin.register(WaitlistOffer)
class WaitlistOfferAdmin(StepAdmin):
    section, place = DAYS, 21
    called = "Waitlist offers"
    question = "Who was offered what, and what came of it?"
    empty = "No offers yet. A time that becomes free is offered to who waits for one, and every turn is kept here."
    list_display = ("patient_name", "time", "made", "answer_by", "status_shown", "reason")
    list_filter = (OfferFilter, ("freed__site", VisibleRelatedFilter))
    list_select_related = ("entry__episode__patient", "freed__site")
    search_fields = ("entry__episode__patient__family_name", "entry__episode__patient__mrn")
    ordering = ("-made_at", "pk")
    fieldsets = (
        (
            None,
            {"fields": ("patient_link", "phone", "entry_link", "time", "booked_now", "made", "answer_by", "reason")},
        ),
    )
    readonly_fields = ("patient_link", "phone", "entry_link", "time", "booked_now", "made", "answer_by")
    panels = (Panel("Whose turn it was at this time", lambda offer, request: turns_of(offer)),)
    steps = (
        StepAction(
            name="accept",
            label="The patient takes it",
            take=waitlist.accept,
            available=is_open,
            consequence="The patient's booking moves to this time, or the time is booked if they had none. They are "
            "told by e-mail, if they get any, and leave the waitlist.",
            done=lambda offer: f"{offer.entry.episode.patient} has the time. What they gave up is offered to the next.",
            main=True,
        ),
        StepAction(
            name="decline",
            label="The patient does not want it",
            take=waitlist.decline,
            available=is_open,
            consequence="The time is offered to the next. The patient stays on the waitlist, and a booking as it is.",
            done=lambda offer: f"Recorded. {offer.entry.episode.patient} stays on the waitlist.",
        ),
    )

    def get_queryset(self, request):
        related = ("entry__episode__patient__site", "freed__site", "held__instead_of")
        return super().get_queryset(request).select_related(*related)

    def page_title(self, offer):
        return f"Offer to {offer.entry.episode.patient}"

    @admin.display(description="Patient", ordering="entry__episode__patient__family_name")
    def patient_name(self, offer):
        return str(offer.entry.episode.patient)

    @admin.display(description="Patient")
    def patient_link(self, offer):
        return show.link(offer.entry.episode.patient)

    @admin.display(description="Phone")
    def phone(self, offer):
        return show.known(offer.entry.episode.patient.phone)

    @admin.display(description="On the waitlist")
    def entry_link(self, offer):
        return show.link(offer.entry, f"since {show.when(offer.entry.added_at, offer.freed.site.zone)}")

    @admin.display(description="Time", ordering="during")
    def time(self, offer):
        return show.during(offer.during or offer.freed.during, offer.freed.site.zone)

    @admin.display(description="Booked until they accept")
    def booked_now(self, offer):
        has = offer.held.instead_of if offer.held else None
        return show.link(has, clock.spoken(has.during.lower, offer.freed.site.zone)) if has else show.NOTHING

    @admin.display(description="Made", ordering="made_at")
    def made(self, offer):
        return show.when(offer.made_at, offer.freed.site.zone)

    @admin.display(description="Answer by", ordering="until")
    def answer_by(self, offer):
        return show.when(offer.until, offer.freed.site.zone)

    @admin.display(description="State", ordering="status")
    def status_shown(self, offer):
        return show.state(offer)


def turns_of(offer):
    """Everybody who had a turn at the same freed time, in their order."""
    rows = WaitlistOffer.objects.filter(freed=offer.freed).select_related("entry__episode__patient")
    turns = [
        (
            show.link(turn.entry, str(turn.entry.episode.patient)),
            show.when(turn.made_at, offer.freed.site.zone),
            show.state(turn),
            turn.reason or show.NOTHING,
        )
        for turn in rows.order_by("made_at", "entry__added_at", "pk")
    ]
    table = show.table(("Patient", "When", "What came of it", "Why"), turns, empty="Nobody yet.")
    return format_html('<p class="quiet">{}</p>{}', waitlist.ORDER, table)


def to_phone(user, at: datetime):
    return waitlist.to_phone(at=at).visible_to(user)


def phone_line(offer, at: datetime) -> Line:
    patient = offer.entry.episode.patient
    zone = patient.site.zone
    return Line(
        str(patient),
        f"{clock.spoken(offer.during.lower, zone)}; answer by {clock.spoken(offer.until, zone)}; "
        f"phone {patient.phone or 'not known'}",
        show.page_of(offer),
        "Call, and record the answer",
    )


register(
    Queue(
        title="Waitlist: patients to phone",
        rows=to_phone,
        line=phone_line,
        everything=lambda: show.list_of(WaitlistOffer, work="open"),
        empty="None. A time offered to a patient whom no e-mail reaches appears here until they have answered.",
        permission="scheduling.view_waitlistoffer",
        place=16,
        urgent=True,
    )
)

add_steps(
    Appointment,
    StepAction(
        name="waitlist",
        label="Wait for a sooner time",
        page=lambda appointment: add_page(WaitlistEntry, episode=appointment.episode_id, visit=appointment.visit),
        available=lambda appointment: appointment.status in waitlist.COMING and appointment.visit in WAITED_FOR,
        permission="scheduling.add_waitlistentry",
    ),
)
add_steps(
    Episode,
    StepAction(
        name="waitlist",
        label="Add to the waitlist",
        page=lambda episode: add_page(WaitlistEntry, episode=episode.pk),
        available=lambda episode: episode.status == EpisodeStatus.PLANNED,
        permission="scheduling.add_waitlistentry",
    ),
)
