"""Step 2 at the desk: what was found, what the criteria say to it line by line, and the clinician's signature."""

from django import forms
from django.contrib import admin
from django.db.models import Exists, OuterRef

from clinic.admin import show
from clinic.admin.pages import DeskAdmin, Panel, VisibleRelatedFilter
from clinic.admin.steps import ReasonForm, StepAction, StepAdmin, StepForm, can_become
from clinic.desk import HOUSE, PEOPLE
from scheduling import bookings, criteria, evaluations
from scheduling.admin import findings
from scheduling.admin.imaging import discs_of
from scheduling.models import CriteriaSet, Episode, Evaluation, Protocol, Verdict
from scheduling.models.evaluation import Outcome
from scheduling.states import VERDICT_MOVES, VerdictStatus

SIGN = "scheduling.sign_verdict"
RESULTS = {
    "fail": "not met",
    "cannot_decide": "cannot decide",
    "warn": "not met, warns",
    "later": "on the day",
    "pass": "met",
}
URGENCY = list(RESULTS)


class JudgeForm(StepForm):
    protocol = forms.ModelChoiceField(
        Protocol.objects.filter(active=True).select_related("product").order_by("name", "version"),
        label="Which treatment is considered?",
        empty_label=None,
        widget=forms.RadioSelect,
    )


class OverrideForm(ReasonForm):
    outcome = forms.ChoiceField(label="What do you sign instead?", choices=())
    field_order = ("outcome", "reason")

    def prepare(self):
        self.fields["outcome"].choices = [pair for pair in Outcome.choices if pair[0] != self.row.computed]


@admin.register(Evaluation)
class EvaluationAdmin(StepAdmin):
    section, place = PEOPLE, 30
    empty_value_display = "not known"
    question = "Who was evaluated, and what was found?"
    empty = "None yet. An evaluation is recorded on the page of an accepted referral."
    list_display = ("patient_name", "on", "evaluated_by", "levels", "verdict_shown")
    list_filter = (("referral__patient__site", VisibleRelatedFilter),)
    list_select_related = ("referral__patient__site",)
    search_fields = ("referral__patient__family_name", "referral__patient__given_name", "referral__patient__mrn")
    ordering = ("-evaluated_on", "pk")
    fieldsets = (
        ("When and by whom?", {"fields": ("referral", ("on", "evaluated_by"))}),
        *((title, {"fields": names}) for title, names in findings.QUESTIONS[1:]),
    )
    readonly_fields = ("on", *findings.AGAINST)
    steps = (
        StepAction(
            name="judge",
            label="Let the criteria judge",
            take=evaluations.judge,
            form=JudgeForm,
            permission="scheduling.add_verdict",
            consequence="The criteria of the treatment are held against what was found, one reason per criterion. "
            "Nothing is decided until a clinician signs. An unsigned verdict for the same treatment is replaced.",
            done=lambda verdict: (
                f"The criteria say for {verdict.evaluation.referral.patient}: "
                f"{verdict.get_computed_display().lower()}. Next: a clinician signs."
            ),
            then=lambda verdict: verdict,
            main=lambda evaluation: not evaluation.judged,
        ),
    )
    panels = (
        Panel("Treatments tried before", lambda evaluation, request: treatments_of(evaluation)),
        Panel("MRI, disc by disc", lambda evaluation, request: discs_of(evaluation.mri)),
        Panel("Verdicts", lambda evaluation, request: verdicts_of(evaluation), first=True),
    )

    def get_queryset(self, request):
        judged = Verdict.objects.filter(evaluation=OuterRef("pk")).exclude(status=VerdictStatus.WITHDRAWN)
        rows = super().get_queryset(request).select_related("referral__patient__site", "mri")
        return rows.annotate(judged=Exists(judged)).prefetch_related("verdicts")

    @admin.display(description="Patient", ordering="referral__patient__family_name")
    def patient_name(self, evaluation):
        return str(evaluation.referral.patient)

    @admin.display(description="Evaluated on", ordering="evaluated_on")
    def on(self, evaluation):
        return show.day(evaluation.evaluated_on)

    @admin.display(description="Disc levels")
    def levels(self, evaluation):
        return ", ".join(evaluation.target_levels) or show.UNKNOWN

    @admin.display(description="Verdict")
    def verdict_shown(self, evaluation):
        standing = [found for found in evaluation.verdicts.all() if found.status != VerdictStatus.WITHDRAWN]
        return (
            show.state(max(standing, key=lambda found: found.status == VerdictStatus.SIGNED), "outcome")
            if standing
            else show.NOTHING
        )


def _answer(name):
    @admin.display(description=findings.label_of(name))
    def answer(self, evaluation):
        return show.yes_no(getattr(evaluation, name))

    return answer


def treatments_of(evaluation):
    rows = (
        (
            care.get_kind_display(),
            show.day(care.started_on),
            show.day(care.ended_on) if care.ended_on else "still going on",
            care.detail or show.NOTHING,
        )
        for care in evaluation.treatments.order_by("started_on", "pk")
    )
    reviewed = "None: the list was reviewed." if evaluation.treatments_reviewed else "Not reviewed yet, so not known."
    return show.table(("What", "From", "Until", "Detail"), rows, empty=reviewed)


def verdicts_of(evaluation):
    rows = (
        (
            show.link(verdict, verdict.protocol.name),
            show.state(verdict, "outcome"),
            show.state(verdict),
            verdict.signed_by or show.NOTHING,
        )
        for verdict in evaluation.verdicts.select_related("protocol").order_by("-pk")
    )
    return show.table(
        ("Treatment", "Outcome", "State", "Signed by"), rows, empty='None yet. Choose "Let the criteria judge" above.'
    )


def reasons_of(verdict):
    """One line per criterion: the value found, the threshold, the result and where the threshold comes from. What
    stands in the way comes first."""
    rows = (
        (
            reason["title"],
            reason["value"],
            reason["threshold"],
            show.badge(reason["outcome"], RESULTS.get(reason["outcome"], reason["outcome"])),
            "blocks" if reason["severity"] == "hard" else "warns",
            reason["basis"],
        )
        for reason in sorted(verdict.reasons, key=lambda reason: URGENCY.index(reason["outcome"]))
    )
    return show.table(("Criterion", "Found", "Threshold", "Result", "If not met", "Source"), rows, empty="No criteria.")


@admin.register(Verdict)
class VerdictAdmin(StepAdmin):
    section, place = PEOPLE, 40
    question = "Who may be treated, and why?"
    empty = 'None yet. A verdict is made on the page of an evaluation: "Let the criteria judge".'
    list_display = ("patient_name", "treatment", "outcome_shown", "status_shown", "signed", "valid_until")
    list_filter = ("status", "outcome", ("evaluation__referral__patient__site", VisibleRelatedFilter))
    list_select_related = ("evaluation__referral__patient__site", "protocol", "criteria")
    search_fields = tuple(f"evaluation__referral__patient__{name}" for name in ("family_name", "given_name", "mrn"))
    ordering = ("-signed_at", "pk")
    fieldsets = (
        (
            "What holds?",
            {"fields": ("patient_name", "outcome_shown", "computed_shown", "override_reason", "signed", "valid_until")},
        ),
        ("What is it about?", {"fields": ("evaluation", "protocol", "criteria", "regulatory")}),
    )
    readonly_fields = ("patient_name", "outcome_shown", "computed_shown", "signed", "valid_until", "regulatory")
    panels = (Panel("Why? One line per criterion", lambda verdict, request: reasons_of(verdict)),)
    steps = (
        StepAction(
            name="sign",
            label="Sign",
            take=evaluations.sign,
            available=can_become(VERDICT_MOVES, VerdictStatus.SIGNED),
            permission=SIGN,
            consequence=lambda verdict: (
                f"You sign with your name: {verdict.get_computed_display().lower()}. "
                f"A procedure can be booked on it for {verdict.criteria.valid_days} days."
            ),
            done=lambda verdict: (
                f"Signed for {verdict.evaluation.referral.patient}: "
                f"{verdict.get_outcome_display().lower()}. Next: plan the treatment."
            ),
            main=True,
        ),
        StepAction(
            name="override",
            label="Sign something else",
            take=evaluations.override,
            form=OverrideForm,
            available=can_become(VERDICT_MOVES, VerdictStatus.SIGNED),
            permission=SIGN,
            consequence=lambda verdict: (
                f"The criteria say: {verdict.get_computed_display().lower()}. You sign another "
                "outcome, with your name and your reason. Both stay on record."
            ),
            done=lambda verdict: (
                f"Signed for {verdict.evaluation.referral.patient} against the criteria: "
                f"{verdict.get_outcome_display().lower()}."
            ),
            destructive=True,
        ),
        StepAction(
            name="open-episode",
            label="Plan the treatment",
            take=bookings.open_episode,
            available=lambda verdict: (
                verdict.status == VerdictStatus.SIGNED and verdict.outcome == Outcome.ELIGIBLE and not verdict.planned
            ),
            permission="scheduling.add_episode",
            consequence="A treatment is opened for this patient. Nothing is booked and nothing is sent yet.",
            done=lambda episode: f"The treatment of {episode.patient} is opened. Next: find a time.",
            then=lambda episode: episode,
            main=True,
        ),
        StepAction(
            name="withdraw",
            label="Withdraw",
            take=evaluations.withdraw,
            form=ReasonForm,
            available=can_become(VERDICT_MOVES, VerdictStatus.WITHDRAWN),
            consequence="Nothing can be booked on this verdict any more. It cannot be undone; the evaluation can be "
            "judged again.",
            done=lambda verdict: f"The verdict for {verdict.evaluation.referral.patient} is withdrawn.",
            destructive=True,
        ),
    )

    def get_queryset(self, request):
        planned = Episode.objects.filter(verdict=OuterRef("pk"))
        rows = super().get_queryset(request).annotate(planned=Exists(planned))
        return rows.select_related("evaluation__referral__patient__site", "protocol__product", "criteria")

    def page_title(self, verdict):
        return f"Verdict for {verdict.evaluation.referral.patient}"

    @admin.display(description="Patient", ordering="evaluation__referral__patient__family_name")
    def patient_name(self, verdict):
        return str(verdict.evaluation.referral.patient)

    @admin.display(description="Treatment", ordering="protocol__name")
    def treatment(self, verdict):
        return verdict.protocol.name

    @admin.display(description="Outcome", ordering="outcome")
    def outcome_shown(self, verdict):
        return show.state(verdict, "outcome")

    @admin.display(description="What the criteria say")
    def computed_shown(self, verdict):
        return show.state(verdict, "computed")

    @admin.display(description="State", ordering="status")
    def status_shown(self, verdict):
        return show.state(verdict)

    @admin.display(description="Signed", ordering="signed_at")
    def signed(self, verdict):
        zone = show.zone_of(verdict)
        return f"{verdict.signed_by}, {show.when(verdict.signed_at, zone)}" if verdict.signed_at else show.NOTHING

    @admin.display(description="Allows booking until")
    def valid_until(self, verdict):
        return show.day(verdict.expires_on(show.zone_of(verdict)))

    @admin.display(description="Regulatory basis of the product")
    def regulatory(self, verdict):
        product = verdict.protocol.product
        return f"{product.get_regulatory_basis_display()}. {product.regulatory_note}".strip()


for _name in findings.AGAINST:
    setattr(EvaluationAdmin, _name, _answer(_name))


@admin.register(CriteriaSet)
class CriteriaSetAdmin(DeskAdmin):
    section, place = HOUSE, 60
    called = "Criteria"
    question = "By which criteria do we judge?"
    empty = "None yet. They are loaded with: manage.py load_reference."
    list_display = ("version", "title", "valid_days", "loaded_at")
    fieldsets = ((None, {"fields": ("version", "title", "valid_days", "loaded_at")}),)
    editable = ()
    panels = (Panel("The criteria", lambda criteria, request: rules_of(criteria)),)

    def has_add_permission(self, request):
        return False


def rules_of(row):
    document = {name: getattr(row, name) for name in ("version", "title", "valid_days", "rules")}
    rules = criteria.RuleSet.from_json(document).rules
    rows = (
        (
            rule.title,
            rule.test.sentence({}),
            "blocks" if rule.severity == "hard" else "warns",
            "on the day" if rule.when == "day_of_procedure" else "for the verdict",
            rule.basis if rule.enabled else f"Switched off. {rule.basis}",
        )
        for rule in rules
    )
    return show.table(("Criterion", "Rule", "If not met", "Judged", "Source"), rows, empty="No criteria.")
