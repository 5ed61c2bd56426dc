"""What is sent when, changed by a person. A change holds for what is not sent yet, at once; it never says again what
was said, and switching a rule on never sends what is older. What would send many messages asks first. Leaves the
MessageRule, or the Site with its quiet hours, as it is now, and a StatusChange that says by whom."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

from django.db import transaction

from clinic import ahead, messages
from clinic.models import Channel, Message, MessageRule, Site
from clinic.models.rules import NINE, Unit
from clinic.states import MessageStatus
from clinic.status import StepRefused, note
from clinic.text import clean

LOOK_AHEAD = timedelta(days=14)
WITHOUT_ASKING = 20  # a change that sends no more than this many messages needs no second look (acceptance R5)
ONLY_LOOKING = -1
MOST = {Unit.DAYS: 60, Unit.HOURS: 14 * 24}
SEVERAL = ("appointment.reminder", "survey.reminder")  # of these a clinic may have as many as it likes
ALWAYS = {"waitlist.offer": "A time that is kept for a patient is always offered. Take the patient off the waitlist."}
KEPT = {"waitlist.offer"}  # written with what it is about, so it would not come again if it were taken back
OFF = "The clinic does not send this message any more."


@dataclass(frozen=True)
class Effect:
    """What a change does: what goes out now that would not have, or not yet; what else in the next 14 days; and what no
    longer goes out then."""

    now: tuple[Message, ...] = ()
    later: tuple[Message, ...] = ()
    no_longer: tuple[Message, ...] = ()

    @property
    def more(self) -> int:
        return len(self.now) + len(self.later)

    def __str__(self) -> str:
        return (
            f"{_count(len(self.now))} would go out at once; "
            f"in the {LOOK_AHEAD.days} days from now {len(self.later)} more and {len(self.no_longer)} fewer."
        )


class AsksFirst(StepRefused):
    """More messages than anybody would want to send by mistake."""

    code = "asks_first"

    def __init__(self, effect: Effect) -> None:
        super().__init__(f"{effect} Look at them, then say that they are to be sent.")
        self.effect = effect
        self.facts: Mapping[str, Any] = {"now": len(effect.now), "later": len(effect.later)}


@transaction.atomic
def change(
    rule: MessageRule,
    *,
    channel: str,
    amount: int | None = None,
    hour: time | None = None,
    text: str | None = None,
    texts: dict[str, str] | None = None,
    agreed: int | None = None,
    by: str,
    at: datetime,
) -> MessageRule:
    """Another moment, channel or wording. `agreed` is how many messages whoever asks has seen and agreed to send."""
    rule = _locked(rule)
    was = said(rule)
    rule.channel, rule.amount = channel, rule.amount if amount is None else amount
    if rule.unit == Unit.DAYS:
        rule.hour = hour or rule.hour
    rule.text = rule.text if text is None else clean(text, lines=True)
    rule.texts = rule.texts if texts is None else texts
    _check(rule)
    effect = _carry_out(rule, agreed=agreed, at=at)
    _leave(rule, was=was, effect=effect, by=by, at=at)
    return rule


@transaction.atomic
def switch_on(rule: MessageRule, *, agreed: int | None = None, by: str, at: datetime) -> MessageRule:
    """Send this from now on. What was due before now is not sent."""
    rule = _locked(rule)
    if rule.in_use:
        raise StepRefused("This message is sent already.")
    rule.in_use, rule.since = True, at
    effect = _carry_out(rule, agreed=agreed, at=at)
    _leave(rule, was="off", effect=effect, by=by, at=at)
    return rule


@transaction.atomic
def switch_off(rule: MessageRule, *, by: str, at: datetime) -> MessageRule:
    """Send this no more, not even what waits to be sent at this moment."""
    rule = _locked(rule)
    if why := ALWAYS.get(rule.kind):
        raise StepRefused(why)
    if not rule.in_use:
        raise StepRefused("This message is not sent as it is.")
    rule.in_use = False
    effect = _carry_out(rule, agreed=None, at=at)
    _leave(rule, was=said(rule), effect=effect, by=by, at=at)
    return rule


@transaction.atomic
def add(
    *,
    site: Site,
    kind: str,
    amount: int,
    hour: time | None = None,
    channel: str = Channel.EMAIL,
    agreed: int | None = None,
    by: str,
    at: datetime,
) -> MessageRule:
    """One more reminder. It counts from now: what would have been due before is not sent."""
    if kind not in SEVERAL:
        raise StepRefused("Only reminders can be added; of everything else there is one already.")
    sign = "+" if kind == "survey.reminder" else ""
    first = f"{sign}{amount}" if sign else f"{amount}d"
    taken = set(MessageRule.objects.filter(site=site, kind=kind).values_list("occasion", flat=True))
    names = [first, *(f"{first}-{number}" for number in range(2, len(taken) + 3))]
    rule = MessageRule(
        site=site,
        kind=kind,
        occasion=next(name for name in names if name not in taken),
        amount=amount,
        unit=Unit.DAYS,
        hour=hour or NINE,
        channel=channel,
        since=at,
    )
    _check(rule)
    effect = _carry_out(rule, agreed=agreed, at=at)
    _leave(rule, was="", effect=effect, by=by, at=at)
    return rule


@transaction.atomic
def change_quiet_hours(
    site: Site, *, quiet_from: time, quiet_until: time, agreed: int | None = None, by: str, at: datetime
) -> Site:
    """Leave patients in peace at other hours, from now on; what waits for the morning waits for the new one."""
    site = Site.objects.select_for_update(no_key=True).get(pk=site.pk)
    was = _span(site)
    site.quiet_from, site.quiet_until = quiet_from, quiet_until
    if _span(site) == was:
        raise StepRefused("These are the quiet hours already.")
    for rule in MessageRule.objects.filter(site=site, unit=Unit.DAYS, in_use=True).order_by("hour", "pk"):
        if site.quiet.covers_time(rule.hour or NINE):
            raise StepRefused(
                f"A message goes out {rule.when}, which would lie in the quiet hours. Change that message first."
            )

    def carry_out() -> None:
        site.save(update_fields=["quiet_from", "quiet_until"])
        put_off = Message.objects.filter(site=site, status=MessageStatus.DUE, attempts=0, due_at__gt=at)
        put_off.exclude(kind__in=KEPT).delete()  # the next sweep writes them again, for the new morning

    effect = _seen(site, carry_out, agreed=agreed, at=at)
    note(site, was=was, became=_span(site), by=by, at=at, reason=f"Quiet hours. {effect}")
    return site


def effect_of(step: Callable[..., Any], *given: Any, by: str, at: datetime, **arguments: Any) -> Effect:
    """What a step here would do, before anybody takes it: it is taken, looked at, and taken back."""
    try:
        with transaction.atomic():
            step(*given, by=by, at=at, agreed=ONLY_LOOKING, **arguments)
    except AsksFirst as asks:
        return asks.effect
    raise AssertionError("A step that only looks always asks.")


def sends(rule: MessageRule, *, at: datetime) -> list[Message]:
    """What this rule sends in the next 14 days as things stand."""
    found = ahead.expected(at=at, until=at + LOOK_AHEAD, sites=[rule.site])
    return [message for message in found if _comes_of(message, rule)]


def said(rule: MessageRule) -> str:
    return f"{rule.when}, {rule.get_channel_display().lower()}"


def _comes_of(message: Message, rule: MessageRule) -> bool:
    return message.kind == rule.kind and (rule.kind == "recovery.stage" or message.occasion == rule.occasion)


def _carry_out(rule: MessageRule, *, agreed: int | None, at: datetime) -> Effect:
    def carry_out() -> None:
        rule.save()
        if not rule.in_use:
            _waiting(rule).update(status=MessageStatus.SKIPPED, reason=OFF)
        elif rule.kind not in KEPT:
            _waiting(rule).filter(attempts=0).delete()  # the next sweep writes them again, as the rule is now

    return _seen(rule.site, carry_out, agreed=agreed, at=at)


def _seen(site: Site, carry_out: Callable[[], None], *, agreed: int | None, at: datetime) -> Effect:
    """Carry it out and see what it does; AsksFirst, if that is much and nobody has agreed to so much."""
    before = _outlook(site, at=at)
    carry_out()
    after = _outlook(site, at=at)
    soon = {key for key, message in before.items() if message.due_at <= at}
    effect = Effect(
        now=tuple(message for key, message in after.items() if message.due_at <= at and key not in soon),
        later=tuple(message for key, message in after.items() if message.due_at > at and key not in before),
        no_longer=tuple(message for key, message in before.items() if key not in after),
    )
    if agreed == ONLY_LOOKING or effect.more > max(WITHOUT_ASKING, agreed or 0):
        raise AsksFirst(effect)
    return effect


def _outlook(site: Site, *, at: datetime) -> dict[tuple[str, str, str], Message]:
    """What goes out at once and in the next 14 days, by what it is about; also what waits in the queue."""
    found = ahead.expected(at=at, until=at + LOOK_AHEAD, sites=[site], overdue=True)
    waiting = Message.objects.filter(site=site, status=MessageStatus.DUE).select_related("patient", "site")
    return {(message.kind, message.about, message.occasion): message for message in [*waiting, *found]}


def _waiting(rule: MessageRule) -> Any:
    """What came of this rule and has not been sent."""
    rows = Message.objects.filter(site=rule.site, kind=rule.kind, status=MessageStatus.DUE)
    return rows if rule.kind == "recovery.stage" else rows.filter(occasion=rule.occasion)


def _span(site: Site) -> str:
    if site.quiet_from == site.quiet_until:
        return "none"
    return f"{site.quiet_from:%H:%M}-{site.quiet_until:%H:%M}"


def _leave(rule: MessageRule, *, was: str, effect: Effect, by: str, at: datetime) -> None:
    became = "in use" if rule.in_use else "off"
    reason = f"Was: {was}. Is: {said(rule)}. {effect}" if was and rule.in_use else f"{said(rule)}. {effect}"
    note(rule, was="" if not was else "off" if was == "off" else "in use", became=became, by=by, at=at, reason=reason)


def _check(rule: MessageRule) -> None:
    if rule.channel not in Channel.values:
        raise StepRefused("Choose e-mail, text message or phone call.")
    if rule.channel == Channel.SMS and not getattr(messages.kind_of(rule.kind), "by_sms", True):
        raise StepRefused("This message is too long, or too private, for a text message. Choose e-mail or phone call.")
    most = MOST.get(Unit(rule.unit), 0)
    if not most and rule.amount:
        raise StepRefused("This message is sent at once, when what it tells has happened.")
    if not 0 <= rule.amount <= most:
        raise StepRefused(f"Choose a number of {rule.get_unit_display().lower()} from 0 to {most}.")
    if rule.unit == Unit.HOURS and rule.amount == 0:
        raise StepRefused("Choose at least one hour before the appointment.")
    if rule.unit == Unit.DAYS and rule.site.quiet.covers_time(rule.hour or NINE):
        raise StepRefused(
            f"{rule.hour:%H:%M} lies in the quiet hours of {rule.site}: patients are left in peace from "
            f"{rule.site.quiet_from:%H:%M} to {rule.site.quiet_until:%H:%M}. Choose an hour outside of them."
        )


def _locked(rule: MessageRule) -> MessageRule:
    return MessageRule.objects.select_related("site").select_for_update(of=("self",), no_key=True).get(pk=rule.pk)


def _count(number: int) -> str:
    return f"{number} message" if number == 1 else f"{number} messages"
