"""What is sent when, as the desk shows it: every rule of a site with what it sends in the next days. Coordinators look;
administrators change it, and see how many messages a change would send before they send them."""

from datetime import time
from typing import Any

from django import forms
from django.contrib import admin
from django.utils.timezone import now

from clinic import rules
from clinic.admin import show
from clinic.admin.messages import KINDS
from clinic.admin.pages import Panel, TimeInput, VisibleRelatedFilter
from clinic.admin.steps import StepAction, StepAdmin, StepForm
from clinic.desk import HOUSE
from clinic.languages import check_texts
from clinic.models import Channel, MessageRule, Site
from clinic.models.rules import Unit
from clinic.status import StepRefused

SHOWN = 20
SAMPLE = 5
OF_SEVERAL = {"check": "Symptom check", "invite": "Survey: invitation"}


def what(rule: MessageRule) -> str:
    return OF_SEVERAL.get(rule.occasion) or KINDS.get(rule.kind, rule.kind)


class AsksFirstForm(StepForm):
    """A form that shows how many messages its step would send, and asks once if they are many."""

    agreed = forms.IntegerField(label="Send them?", required=False, widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if self.errors:
            return given
        arguments = {name: value for name, value in given.items() if name != "agreed"}
        subject = () if self.row is None else (self.row,)
        try:
            effect = rules.effect_of(self.step, *subject, by=self.user.get_username(), at=now(), **arguments)
        except StepRefused as refused:
            raise forms.ValidationError(str(refused)) from refused
        if effect.more > max(rules.WITHOUT_ASKING, given.get("agreed") or 0):
            self.ask(effect)
        return given

    def ask(self, effect: rules.Effect) -> None:
        first = (*effect.now, *effect.later)[:SAMPLE]
        zone = first[0].site.zone
        sample = "; ".join(f"{message.patient}, {show.when(message.due_at, zone)}" for message in first)
        choices = [("", "No, not yet"), (effect.more, f"Yes, send these {effect.more}")]
        self.fields["agreed"].widget = forms.RadioSelect(choices=choices)
        self.add_error("agreed", f"{effect} The first: {sample}. Send them?")

    @property
    def step(self) -> Any:
        raise NotImplementedError


class ChangeForm(AsksFirstForm):
    amount = forms.IntegerField(label="How many?", min_value=0)
    hour = forms.TimeField(label="At what time?", widget=TimeInput, help_text="On the clinic's clock.")
    channel = forms.ChoiceField(label="How?", choices=Channel.choices)
    text = forms.CharField(
        label="In which words?",
        widget=forms.Textarea(attrs={"rows": 5}),
        help_text="In the language of the clinic's own texts.",
    )
    texts = forms.JSONField(
        label="In other languages?",
        required=False,
        initial=dict,
        validators=[check_texts],
        help_text='For example {"de": "...", "tr": "..."}. Needed only if you changed the text above.',
    )

    def clean_texts(self) -> dict[str, str]:
        return self.cleaned_data["texts"] or {}

    def prepare(self) -> None:
        rule = self.row
        if rule.unit != Unit.DAYS:
            del self.fields["hour"]
        if rule.at_once:
            del self.fields["amount"]
        else:
            self.fields["amount"].label = f"How many {rule.get_unit_display().lower()}?"
        if not rule.text:
            del self.fields["text"], self.fields["texts"]
        self.order_fields([name for name in self.fields if name != "agreed"])
        self.initial = {name: getattr(rule, name) for name in self.fields if name != "agreed"} | self.initial

    @property
    def step(self) -> Any:
        return rules.change


class SwitchOnForm(AsksFirstForm):
    @property
    def step(self) -> Any:
        return rules.switch_on


class AddForm(AsksFirstForm):
    site = forms.ModelChoiceField(Site.objects.all(), label="At which clinic?")
    kind = forms.ChoiceField(label="Of what?", choices=[(kind, KINDS[kind]) for kind in rules.SEVERAL])
    amount = forms.IntegerField(
        label="How many days?", min_value=0, help_text="Before the day, or after the invitation."
    )
    hour = forms.TimeField(label="At what time?", widget=TimeInput, initial=time(9), help_text="On the clinic's clock.")
    channel = forms.ChoiceField(label="How?", choices=Channel.choices)
    field_order = ("site", "kind", "amount", "hour", "channel", "agreed")

    @property
    def step(self) -> Any:
        return rules.add


def next_days(rule: MessageRule, request: Any) -> Any:
    """What the rule sends in the next 14 days, as things stand."""
    found = rules.sends(rule, at=now()) if rule.in_use else []
    rows = [(show.link(one.patient), show.when(one.due_at, rule.site.zone)) for one in found[:SHOWN]]
    if len(found) > SHOWN:
        rows.append((f"and {len(found) - SHOWN} more", ""))
    empty = "Nothing is in sight." if rule.in_use else "It is switched off."
    return show.table(("Patient", "When"), rows, empty=empty)


@admin.register(MessageRule)
class MessageRuleAdmin(StepAdmin):
    section, place = HOUSE, 15
    called = "What is sent when"
    question = "What do we say to patients by ourselves, and when?"
    empty = "Nothing yet. A new clinic begins with the rules that come with the software."
    list_display = ("name", "when_shown", "channel", "visit_shown", "state", "site")
    list_filter = ("in_use", "channel", ("site", VisibleRelatedFilter))
    list_select_related = ("site",)
    ordering = ("site", "pk")
    search_fields = ("kind",)
    readonly_fields = ("name", "when_shown", "visit_shown", "state", "since_shown")
    panels = (Panel("In the next 14 days", next_days),)
    adding = StepAction(
        name="add",
        label="Add a reminder",
        take=rules.add,
        form=AddForm,
        consequence="It counts from now: what would have been due before is not sent.",
        done=lambda rule: f"{what(rule)} goes out {rule.when}.",
    )
    steps = (
        StepAction(
            name="change",
            label="Change",
            take=rules.change,
            form=ChangeForm,
            consequence="It holds at once for everything that is not sent yet. What was said is not said again.",
            done=lambda rule: f"{what(rule)} now goes out {rule.when}.",
            main=True,
        ),
        StepAction(
            name="switch-on",
            label="Send this from now on",
            take=rules.switch_on,
            form=SwitchOnForm,
            available=lambda rule: not rule.in_use,
            consequence="What was due before now is not sent.",
            done=lambda rule: f"{what(rule)} goes out {rule.when}.",
        ),
        StepAction(
            name="switch-off",
            label="Send this no more",
            take=rules.switch_off,
            available=lambda rule: rule.in_use and rule.kind not in rules.ALWAYS,
            consequence="Also what waits to be sent at this moment is not sent. It can be switched on again.",
            done=lambda rule: f"{what(rule)} is not sent any more.",
            destructive=True,
        ),
    )

    def get_fieldsets(self, request, rule=None):
        words = ("text", "texts") if rule is None or rule.text else ()
        return (
            ("What is said when?", {"fields": ("name", "when_shown", "channel", "visit_shown", *words)}),
            ("Is it in use?", {"fields": ("state", "since_shown", "site")}),
        )

    def page_title(self, rule):
        return what(rule)

    @admin.display(description="What", ordering="kind")
    def name(self, rule):
        return what(rule)

    @admin.display(description="When")
    def when_shown(self, rule):
        return rule.when

    @admin.display(description="For which visits")
    def visit_shown(self, rule):
        return rule.visit.replace("_", " ") or "all"

    @admin.display(description="In use", ordering="in_use")
    def state(self, rule):
        return show.badge("active", "in use") if rule.in_use else show.badge("off", "off")

    @admin.display(description="Since")
    def since_shown(self, rule):
        return show.when(rule.since, rule.site.zone) if rule.since else "from the beginning"
