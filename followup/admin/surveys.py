"""What patients answered, and the wording they were asked in. An answer is never edited: a correction stands beside
it."""

from django.contrib import admin

from clinic.admin import show
from clinic.admin.pages import Panel, VisibleRelatedFilter
from clinic.admin.steps import StepAction, StepAdmin
from clinic.desk import AFTERWARDS
from followup import instruments, rules, scores, surveys
from followup.admin.answers import CorrectionForm, history_of_response, said
from followup.models import Response
from followup.states import RESPONSE_FINISHED


def answers_of(response):
    rows = (
        (
            question.text,
            said(question, response.answers[question.link_id])
            if question.link_id in response.answers
            else show.NOTHING,
        )
        for question in instruments.questions(response.instrument)
    )
    return show.table(("Question", "Answer"), rows, empty="No questions.")


def rule_of(response):
    """By which rule the score came about: kept with it, whatever the rules say by now."""
    kept = response.scored
    if not kept:
        return show.table((), (), empty="Scored when the survey is finished.")
    return show.facts(
        (
            ("Rule", f"{kept['rule']} {kept['rule_version']}, at least {kept['min_answered']} answered"),
            ("Wording and time asked about", f"{kept['version']}, {kept['recall']}"),
            ("Shown rounded", kept["rounding"]),
            ("Questions with several marks", kept["multi"]),
            ("Not complete because", show.known(kept["reason"]) if kept["reason"] else show.NOTHING),
        )
    )


@admin.register(Response)
class ResponseAdmin(StepAdmin):
    section, place = AFTERWARDS, 30
    called = "Answers"
    question = "What did patients answer?"
    empty = "Nothing yet. An answer appears here when a patient begins a survey, or staff records one by phone."
    list_display = ("patient_name", "survey", "time_point", "mode", "answered_on", "shown_score", "status_shown")
    list_filter = ("instrument_code", "mode", "status", ("event__episode__patient__site", VisibleRelatedFilter))
    list_select_related = ("event__episode__patient__site", "instrument")
    search_fields = tuple(f"event__episode__patient__{name}" for name in ("family_name", "given_name", "mrn"))
    ordering = ("-last_answer_at", "pk")
    fieldsets = (
        (None, {"fields": ("patient_name", "event", "survey", "mode", "recorded_by", "answered_on")}),
        ("What is the score?", {"fields": ("shown_score", "raw", "answered", "score_status")}),
    )
    readonly_fields = ("patient_name", "survey", "answered_on", "shown_score")
    shows_next = False
    panels = (
        Panel("Answers", lambda response, request: answers_of(response)),
        Panel("How was it scored?", lambda response, request: rule_of(response)),
        Panel("What was said, and when", lambda response, request: history_of_response(response)),
    )
    steps = (
        StepAction(
            name="amend",
            label="Correct an answer",
            take=surveys.amend,
            form=CorrectionForm,
            available=lambda response: response.status in RESPONSE_FINISHED,
            consequence="Enter only what must change. What was answered before is kept beside it; the score is made "
            "again.",
            done=lambda response: f"Corrected: {response}.",
        ),
    )

    @admin.display(description="Patient", ordering="event__episode__patient__family_name")
    def patient_name(self, response):
        return str(response.event.episode.patient)

    @admin.display(description="Survey")
    def survey(self, response):
        return response.instrument.title

    @admin.display(description="Time point")
    def time_point(self, response):
        return response.event.name

    @admin.display(description="Answered", ordering="completed_at")
    def answered_on(self, response):
        return show.when(response.completed_at or response.last_answer_at, show.zone_of(response))

    @admin.display(description="Score", ordering="score")
    def shown_score(self, response):
        exact = scores.exact(response)
        return show.NOTHING if exact is None else rules.read(response.instrument.rules).display(exact)

    @admin.display(description="State", ordering="status")
    def status_shown(self, response):
        return show.state(response)
