"""Answers as staff enter and correct them: read out on the phone, copied from paper, or put right afterwards. What the
patient has said already is shown beside each question and stays theirs unless somebody enters something else."""

from django import forms

from clinic.admin import show
from clinic.admin.steps import StepForm
from followup import instruments, surveys
from followup.models import Answer
from followup.models.survey import Mode

SKIP = "skip"
UNTOUCHED = ""


class AnswersForm(StepForm):
    """The questions of one survey. Nothing is filled in beforehand: an empty field changes nothing."""

    mode = ""
    rest = ""

    def prepare(self):
        self.asked = {}
        told = {(row.response.instrument_code, row.link_id): row for row in surveys.history(self.row)}
        for page in surveys.pages(surveys.dated(self.row.pk)):
            asked = self.question_of(page)
            name = f"q{page.number}"
            self.asked[name] = (asked.instrument.code, asked.question.link_id)
            self.fields[name] = field_for(asked.question, kept=self.kept(page, told), several=self.several(asked))
        self.fields["rest_unanswered"] = forms.BooleanField(label=self.rest, required=False)

    def question_of(self, page):
        return page

    def several(self, page):
        return False

    def kept(self, page, told):
        """What was said already, by whom and when, in words; empty if nothing was."""
        pages = [one for one in (page, page.instead) if one is not None and one.answered]
        given = [one for one in pages if one.value is not None] or pages
        if not given:
            return ""
        one = given[0]
        answer = told.get((one.instrument.code, one.question.link_id))
        other = one.instrument != self.question_of(page).instrument and one.value is not None
        scale = f" on the scale from {one.question.low} to {one.question.high}" if other else ""
        return f"{said(one.question, one.value)}{scale} ({told_by(answer, show.zone_of(self.row))})"

    def arguments(self):
        answers = {}
        for name, (code, link_id) in self.asked.items():
            given = self.cleaned_data[name]
            if given not in (None, UNTOUCHED, []):
                answers.setdefault(code, {})[link_id] = value_of(given)
        return {"answers": answers, "mode": self.mode, "rest_unanswered": self.cleaned_data["rest_unanswered"]}


class PhoneForm(AnswersForm):
    """A line cannot be marked by phone: there the same question is asked as a number."""

    mode = Mode.PHONE
    rest = "What is left empty was not answered"

    def question_of(self, page):
        return page.instead or page


class PaperForm(AnswersForm):
    """A line is measured in millimetres; of an ODI section every statement that is marked is entered."""

    mode = Mode.PAPER
    rest = "What is left empty is blank on the paper"

    def several(self, page):
        return page.instrument.scoring == "odi"


class CorrectionForm(StepForm):
    """One finished response, question by question, with what it says now."""

    reason = forms.CharField(
        label="Why?",
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="It is kept with the correction, with your name and the time, beside what was answered before.",
    )

    def prepare(self):
        self.asked = {}
        several = self.row.instrument.scoring == "odi" and self.row.mode == Mode.PAPER
        for number, question in enumerate(instruments.questions(self.row.instrument), start=1):
            kept = said(question, self.row.answers.get(question.link_id))
            self.asked[f"q{number}"] = question.link_id
            self.fields[f"q{number}"] = field_for(question, kept=kept, several=several)
        self.order_fields([*self.asked, "reason"])

    def arguments(self):
        given = {link_id: self.cleaned_data[name] for name, link_id in self.asked.items()}
        changed = {link_id: value_of(value) for link_id, value in given.items() if value not in (None, UNTOUCHED, [])}
        return {"answers": changed, "reason": self.cleaned_data["reason"]}


def field_for(question, *, kept="", several=False):
    """A question as a form field for staff; `kept` is what was answered already, and stays if nothing is entered."""
    told = f"Answered already: {kept}. Leave it empty to keep that." if kept else ""
    if question.kind in ("yes_no", "choice"):
        return choice_field(question, told, kept=kept, several=several)
    bounds = f'From {question.low} ({question.lower}) to {question.high} ({question.upper}); "-": skipped.'
    return NumberField(question, label=question.text, required=False, help_text=f"{bounds} {told}".strip())


def choice_field(question, told, *, kept, several):
    if question.kind == "yes_no":
        choices = [("yes", "yes"), ("no", "no")]
    else:
        choices = [(str(option.value), option.text) for option in question.options]
    choices.append((SKIP, "skipped"))
    if several:
        widget = forms.CheckboxSelectMultiple(attrs={"class": "stacked"})
        return forms.MultipleChoiceField(
            label=question.text, choices=choices, required=False, widget=widget, help_text=told
        )
    if kept:
        choices.insert(0, (UNTOUCHED, f"keep: {kept}"))
    widget = forms.RadioSelect(attrs={"class": "" if question.kind == "yes_no" else "stacked"})
    return forms.ChoiceField(label=question.text, choices=choices, required=False, widget=widget)


class NumberField(forms.IntegerField):
    """A number within the bounds of a question, or "-" for "was asked, and skipped"."""

    widget = forms.TextInput(attrs={"inputmode": "numeric", "size": 6})

    def __init__(self, question, **given):
        super().__init__(min_value=question.low, max_value=question.high, **given)

    def to_python(self, value):
        return SKIP if str(value).strip() == "-" else super().to_python(value)

    def validate(self, value):
        if value != SKIP:
            super().validate(value)

    def run_validators(self, value):
        if value != SKIP:
            super().run_validators(value)


def value_of(given):
    """What was entered, as the survey step takes it."""
    if isinstance(given, list):
        marks = [None if one == SKIP else int(one) for one in given]
        return marks[0] if len(marks) == 1 else marks
    return {SKIP: None, "yes": True, "no": False}[given] if given in (SKIP, "yes", "no") else int(given)


def said(question, value):
    if isinstance(value, list):
        return " and ".join(question.saying(mark) for mark in value)
    return question.saying(value)


def told_by(answer, zone):
    if answer is None:
        return "earlier"
    who = "by the patient" if answer.mode == Mode.SELF else f"{answer.get_mode_display().lower()}, {answer.by}"
    return f"{who}, {show.when(answer.at, zone)}"


def history_of(rows, zone):
    """Every answer as it was given, the newest last: corrections stand below what they correct."""
    questions = {}
    lines = []
    for row in rows:
        asked = questions.setdefault(row.response.instrument_id, instruments.questions(row.response.instrument))
        question = next((one for one in asked if one.link_id == row.link_id), None)
        lines.append(
            (
                show.when(row.at, zone),
                question.text if question else row.link_id,
                row.get_absent_display()
                if row.value is None
                else (said(question, row.value) if question else row.value),
                row.get_mode_display(),
                row.by or ("the patient" if row.mode == Mode.SELF else show.NOTHING),
                row.reason or show.NOTHING,
            )
        )
    columns = ("When", "Question", "Answer", "How", "By", "Why")
    return show.table(columns, lines, empty="Nothing answered yet.")


def history_of_response(response):
    rows = Answer.objects.filter(response=response).select_related("response__instrument")
    return history_of(rows, show.zone_of(response))


def history_of_event(event):
    return history_of(surveys.history(event), show.zone_of(event))
