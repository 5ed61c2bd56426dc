"""The wordings patients are asked in: how they are scored, by what licence, and why one is not asked. The words and the
rules come from files (`load_instrument`); here they are taken into use and out of it, with a reason."""

from django.conf import settings
from django.contrib import admin
from django.utils.timezone import now

from clinic.admin import show
from clinic.admin.pages import DeskAdmin, Panel
from clinic.admin.steps import ReasonForm, StepAction, StepAdmin
from clinic.desk import HOUSE
from followup import instruments, rules
from followup.models import Instrument, Licence


def questions_of(instrument):
    rows = (
        (question.text, question.kind.replace("_", " "), " / ".join(option.text for option in question.options))
        for question in instruments.questions(instrument)
    )
    return show.table(("Question", "Kind", "Answers"), rows, empty="No questions.")


def rules_of(instrument):
    """The scoring rules as they are kept with this wording."""
    rule = rules.read(instrument.rules)
    return show.facts(
        (
            ("Scale", f"{rule.label} (rule {rule.version})"),
            ("Needs", rule.asks),
            ("Answers needed for a score", rule.min_answered),
            ("Several marks on paper", "the highest counts" if rule.multiple == "highest" else "refused"),
            ("Shown rounded", f"{rule.rounding}, {rule.decimals} decimals"),
            ("Better is", rule.better or "neither more nor less"),
            ("Raises an alert", f"at {rule.alarming_rise} more than before" if rule.alarming_rise else show.NOTHING),
            ("Thresholds", ", ".join(rule.thresholds) or show.NOTHING),
            ("LOINC", rule.loinc or show.NOTHING),
            ("Licence needed", show.yes_no(rule.licensed)),
            ("Source", rule.source),
        )
    )


def licence_of(instrument):
    licence = instrument.licence
    if licence is None:
        return show.table((), (), empty="None is loaded with this wording.")
    return show.facts(
        (
            ("Holder", licence.holder),
            ("Number", show.link(licence, licence.number)),
            ("Scope", licence.scope),
            ("Languages", ", ".join(licence.languages)),
            ("Last day", show.day(licence.expires_on)),
            ("Attested by", licence.attested_by),
        )
    )


def standing(instrument):
    """In use, or the reason why patients are not asked in these words."""
    why = instruments.obstacle(instrument, on=now().date())
    if instrument.active and not why:
        return show.badge("active", "in use, in this demo" if instrument.placeholder else "in use")
    if instrument.active:
        return show.badge("fail", "not asked")
    return show.badge("draft", "placeholder, demo only") if instrument.placeholder else show.badge("", "not in use")


def why_not_asked(instrument):
    if why := instruments.obstacle(instrument, on=now().date()):
        return why
    return (
        show.NOTHING if instrument.active else "Another wording is in use, or this one was taken out of use: see below."
    )


@admin.register(Instrument)
class InstrumentAdmin(StepAdmin):
    section, place = HOUSE, 50
    called = "Survey wordings"
    question = "In which words do we ask?"
    empty = "None yet. They are loaded with: manage.py load_reference."
    list_display = ("title", "code", "version", "language", "recall", "state")
    list_filter = ("code", "language", "active")
    list_select_related = ("licence",)
    ordering = ("code", "language", "version")
    fieldsets = (
        (None, {"fields": ("title", "code", "version", "language", "recall", "state", "why")}),
        ("Whose words are they?", {"fields": ("placeholder", "loaded_at")}),
    )
    readonly_fields = ("state", "why")
    panels = (
        Panel("How is it scored?", lambda instrument, request: rules_of(instrument)),
        Panel("By what licence?", lambda instrument, request: licence_of(instrument)),
        Panel("The questions", lambda instrument, request: questions_of(instrument)),
    )
    steps = (
        StepAction(
            name="activate",
            label="Ask in these words",
            take=instruments.activate,
            form=ReasonForm,
            available=lambda instrument: not instrument.active and (settings.DEMO or not instrument.placeholder),
            consequence="From now on patients who speak this language are asked in these words, and no longer in those "
            "in use. Surveys that were begun are finished in the words they were begun in.",
            done=lambda instrument: f"Patients are now asked in the words of {instrument}.",
        ),
        StepAction(
            name="retire",
            label="Stop asking in these words",
            take=instruments.retire,
            form=ReasonForm,
            available=lambda instrument: instrument.active,
            consequence="Patients are not asked in these words any more. Answers that were given stay as they are.",
            done=lambda instrument: f"{instrument} is no longer asked.",
            destructive=True,
        ),
    )
    shows_next = False

    @admin.display(description="State")
    def state(self, instrument):
        return standing(instrument)

    @admin.display(description="Why it is not asked")
    def why(self, instrument):
        return why_not_asked(instrument)

    def too_late(self, row, step):
        return f'{row} is {"in use" if row.active else "not in use"}. "{step.label}" is not possible.'


@admin.register(Licence)
class LicenceAdmin(DeskAdmin):
    section, place = HOUSE, 51
    called = "Licences of wordings"
    question = "By what right do we ask in the words of others?"
    empty = "None yet. A licence is loaded with its wording: manage.py load_instrument FILE --licence FILE."
    list_display = ("holder", "number", "covers", "expires_on", "attested_by")
    ordering = ("holder", "number", "pk")
    fieldsets = (
        (None, {"fields": ("holder", "number", "scope", "covers", "expires_on", "attested_by", "also", "loaded_at")}),
    )
    readonly_fields = ("covers",)
    editable = ()

    def has_add_permission(self, request):
        return False

    @admin.display(description="Languages")
    def covers(self, licence):
        return ", ".join(licence.languages)
