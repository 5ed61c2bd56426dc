"""Before step 7: which questionnaires exist, in which wording and by which licence, and when each protocol asks them.
Leaves Instrument rows, and the FollowUpStep and RestrictionStage lines of every protocol."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Now, TruncDate

from clinic.status import StepRefused, note
from followup import licences, questionnaires, rules
from followup.models import FollowUpStep, Instrument, RestrictionStage
from followup.questionnaires import Option, Question
from scheduling.models import Protocol

__all__ = ["Option", "Question"]

REFERENCE = Path(__file__).parent / "reference"
EVERY_OTHER = "every other"
NEEDED = ("name", "version", "title", "item")
OURS_ALONE = frozenset({"scale", "licensed"})  # a form may not talk itself out of needing a licence
IN_USE, NOT_IN_USE = "in use", "not in use"


class InstrumentRefused(StepRefused):
    code = "instrument_refused"


@transaction.atomic
def load_all(*, at: datetime) -> None:
    """Load what the repository ships: every instrument, and the plan of every protocol that has none. Run it as often
    as you like: wording and plans that are loaded are never edited. A demo takes the placeholders into use; anywhere
    else those that a demo left behind are put away."""
    for path in sorted((REFERENCE / "instruments").glob("*.json")):
        load(path, at=at)
    if not settings.DEMO:
        for left in Instrument.objects.filter(placeholder=True, active=True):
            retire(left, reason="This is no demo any more.", by="system", at=at)
    _load_plans()


@transaction.atomic
def load(
    source: Path | str | Mapping[str, Any],
    *,
    licence: Path | str | Mapping[str, Any] | None = None,
    at: datetime,
    by: str = "system",
) -> Instrument:
    """The instrument in a FHIR Questionnaire (`experimental` marks a placeholder). A new wording takes the place of the
    one in use in its language, a renewed licence that of the old one; a placeholder never takes the place of a real
    one, and is in use in a demo only."""
    form = source if isinstance(source, Mapping) else _read(Path(source))
    instrument = _described(form, at=at)
    held = licences.record(licence, at=at) if licence else None
    same = _wordings(instrument.code, instrument.language)
    known = next((row for row in same if (row.version, row.recall) == (instrument.version, instrument.recall)), None)
    if known is None:
        instrument.licence = held
        _refuse_unless_licensed(instrument)
        instrument.save()
        same.append(instrument)
    elif (known.questionnaire, known.rules) != (instrument.questionnaire, instrument.rules):
        raise InstrumentRefused(
            f"Version {known.version} of {known.code} is loaded with other words or scoring rules: raise it."
        )
    else:
        instrument = known
        if held and known.licence != held:
            known.licence = held
            _refuse_unless_licensed(known)
            known.save(update_fields=["licence"])
            note(known, was="licensed", became="licence renewed", by=by, at=at, reason=str(held))
    real = any(row.active and not row.placeholder for row in same)
    wanted = not real and (settings.DEMO if instrument.placeholder else bool(held))
    if not instrument.active and (wanted or (known is None and not instrument.placeholder)):
        _put_in_use(instrument, same, reason="Loaded.", by=by, at=at)
    return instrument


@transaction.atomic
def activate(instrument: Instrument, *, reason: str, by: str, at: datetime) -> Instrument:
    """Ask in these words from now on, in place of those in use in the same language. What was begun is finished in the
    words it was begun in."""
    if not reason.strip():
        raise InstrumentRefused("Say why patients are to be asked in these words.")
    same = _wordings(instrument.code, instrument.language)
    row = next(one for one in same if one.pk == instrument.pk)
    if why := obstacle(row, on=at.date()):
        raise InstrumentRefused(why)
    if not row.active:
        _put_in_use(row, same, reason=reason, by=by, at=at)
    return row


@transaction.atomic
def retire(instrument: Instrument, *, reason: str, by: str, at: datetime) -> Instrument:
    """Stop asking in these words. Answers that were given in them stay as they are."""
    if not reason.strip():
        raise InstrumentRefused("Say why patients are no longer asked in these words.")
    row = next(one for one in _wordings(instrument.code, instrument.language) if one.pk == instrument.pk)
    if row.active:
        _switch(row, on=False, reason=reason, by=by, at=at)
    return row


def wordings_in(language: str, *, on: date | None = None) -> dict[str, Instrument]:
    """By code, the wording to ask with on that day (today by the database's clock): in this language, else its base
    language, else English. A code that has none, or outside demo mode only a placeholder, or one whose licence has
    ended, is not in it: `why_not` says why."""
    wanted = _nearest(language)
    usable = Instrument.objects.filter(active=True, language__in=wanted).filter(_licensed(on))
    if not settings.DEMO:
        usable = usable.filter(placeholder=False)
    nearest_last = sorted(usable, key=lambda instrument: wanted.index(instrument.language), reverse=True)
    return {instrument.code: instrument for instrument in nearest_last}


def active_for(code: str, language: str, *, on: date | None = None) -> Instrument | None:
    return wordings_in(language, on=on).get(code)


def why_not(code: str, language: str, *, on: date | None = None) -> str:
    """Why `active_for` finds nothing, as a coordinator needs it; empty if it finds something."""
    if active_for(code, language, on=on):
        return ""
    rows = Instrument.objects.filter(code=code, language__in=_nearest(language)).select_related("licence")
    found = list(rows.order_by("-active", "placeholder", "-pk"))
    if not found:
        return f"No questionnaire called {code} has been loaded."
    row = found[0]
    if row.placeholder:
        return f"{row.title} is not asked: its licensed wording has not been loaded (load_instrument)."
    if row.active and row.licence:
        return f"{row.title} is not asked. {licences.ended(row.licence)}"
    return f"{row.title} is not asked: its wording has been taken out of use."


def planned(instrument: Instrument) -> bool:
    """Whether some plan asks it, by its own code or as the other scale of what it asks."""
    codes = [instrument.code, alternative_to(instrument)]
    return FollowUpStep.objects.filter(instruments__overlap=codes).exists()


def obstacle(instrument: Instrument, *, on: date) -> str:
    """Why this wording may not be asked on that day, whether it is in use or not; empty if it may."""
    if instrument.placeholder and not settings.DEMO:
        return (
            f"{instrument} is a placeholder: it works in demo mode only. Load the licensed wording (load_instrument)."
        )
    if instrument.licence:
        return licences.expired(instrument.licence, on=on) or licences.uncovered(
            instrument.licence, instrument.language
        )
    return _unlicensed(instrument)


def allows(instrument: Instrument, question: Question, value: object, *, on_paper: bool = False) -> bool:
    """Whether `value` answers `question`: from paper also the list of the statements marked, if the rules of the
    instrument say which of them counts."""
    several = on_paper and rules.read(instrument.rules).multiple == "highest"
    return question.allows(value, several=several)


def alternative_to(instrument: Instrument) -> str:
    """The code of the instrument that may be answered in its place, such as the number instead of the line."""
    return str(questionnaires.extension(instrument.questionnaire, questionnaires.ALTERNATIVE))


def questions(instrument: Instrument) -> tuple[Question, ...]:
    return questionnaires.questions(instrument.questionnaire)


def for_staff(instrument: Instrument) -> tuple[Question, ...]:
    """The same questions in the desk's language, English; if that wording has not been loaded, as they were asked."""
    same = {"code": instrument.code, "version": instrument.version, "recall": instrument.recall}
    if instrument.language == "en":
        return questions(instrument)
    return questions(Instrument.objects.filter(**same, language="en").first() or instrument)


def _wordings(code: str, language: str) -> list[Instrument]:
    """Every wording of one questionnaire in one language, locked in one order: one of them at most is in use."""
    rows = Instrument.objects.select_for_update(of=("self",), no_key=True).select_related("licence")
    return list(rows.filter(code=code, language=language).order_by("pk"))


def _put_in_use(instrument: Instrument, same: list[Instrument], *, reason: str, by: str, at: datetime) -> None:
    for other in same:
        if other.active and other != instrument:
            _switch(other, on=False, reason=f"Replaced by {instrument}.", by=by, at=at)
    _switch(instrument, on=True, reason=reason, by=by, at=at)


def _switch(instrument: Instrument, *, on: bool, reason: str, by: str, at: datetime) -> None:
    instrument.active, instrument.for_demo = on, on and instrument.placeholder
    instrument.save(update_fields=["active", "for_demo"])
    was, became = (NOT_IN_USE, IN_USE) if on else (IN_USE, NOT_IN_USE)
    note(instrument, was=was, became=became, by=by, at=at, reason=reason)


def _nearest(language: str) -> list[str]:
    return list(dict.fromkeys((language, language.partition("-")[0], "en")))


def _licensed(on: date | None) -> Q:
    return Q(licence__isnull=True) | Q(licence__expires_on__gte=on or TruncDate(Now(), tzinfo=UTC))


def _refuse_unless_licensed(instrument: Instrument) -> None:
    if not instrument.placeholder and (why := _unlicensed(instrument)):
        raise InstrumentRefused(why)
    if instrument.licence and (why := licences.uncovered(instrument.licence, instrument.language)):
        raise licences.LicenceRefused(why)


def _unlicensed(instrument: Instrument) -> str:
    """Whether words need a licence hangs on how they are scored, whatever the file calls itself."""
    if instrument.licence or instrument.placeholder or not instrument.rules["licensed"]:
        return ""
    return (
        f"The wording of {instrument.title} belongs to others. Give the licence record: "
        f"{', '.join(licences.RECORD)} (load_instrument FILE --licence FILE)."
    )


def _described(form: Mapping[str, Any], *, at: datetime) -> Instrument:
    """The row for a form, or InstrumentRefused if it could not be asked or scored."""
    if form.get("resourceType") != "Questionnaire":
        raise InstrumentRefused("This is not a FHIR Questionnaire.")
    for field in NEEDED:
        if not form.get(field):
            raise InstrumentRefused(f"The questionnaire has no {field}.")
    try:
        scale, recall = (questionnaires.extension(form, url) for url in (questionnaires.SCORING, questionnaires.RECALL))
        asked = questionnaires.questions(form)
        own = questionnaires.nested(form, questionnaires.RULES)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as broken:
        raise InstrumentRefused(f"A question of {form['title']} is incomplete or of an unknown kind.") from broken
    if scale not in rules.SCALES:
        raise InstrumentRefused(
            f"The questionnaire names no scoring ({questionnaires.SCORING}): one of {', '.join(rules.SCALES)}."
        )
    if not recall:
        raise InstrumentRefused(f"The questionnaire does not say which time it asks about ({questionnaires.RECALL}).")
    instrument = Instrument(
        code=form["name"],
        version=form["version"],
        language=form.get("language", "en"),
        recall=recall,
        title=form["title"],
        questionnaire=form,
        scoring=scale,
        rules=_rules(scale, own=own, asked=asked),
        placeholder=bool(form.get("experimental")),
        loaded_at=at,
    )
    _refuse_unless_it_fits(instrument)
    return instrument


def _rules(scale: str, *, own: Mapping[str, Any], asked: tuple[Question, ...]) -> dict[str, Any]:
    """The rules of the scale, but for what the form says otherwise; the form has to ask what they score."""
    if theirs := sorted(OURS_ALONE & own.keys()):
        raise InstrumentRefused(f"A questionnaire cannot change this scoring rule: {', '.join(theirs)}.")
    told = {**_read(REFERENCE / "scorings" / f"{scale}.json"), **own}
    try:
        rule = rules.read(told)
    except ValueError as broken:
        raise InstrumentRefused(f"The questionnaire cannot be scored: {broken}.") from broken
    if len({question.link_id for question in asked}) != len(asked):
        raise InstrumentRefused("Two questions have the same linkId.")
    if not rule.fits(asked):
        raise InstrumentRefused(
            f"The scale {scale} needs {rule.asks}; a form that lacks some or has others is refused, never scored."
        )
    return told


def _refuse_unless_it_fits(instrument: Instrument) -> None:
    """Words where words belong, of a length that can be kept."""
    for name in ("code", "version", "language", "recall", "title"):
        field = cast("models.Field[Any, Any]", Instrument._meta.get_field(name))
        value = getattr(instrument, name)
        try:
            if not isinstance(value, str):
                raise ValidationError("It must be text in quotes.")
            field.clean(value, instrument)
        except ValidationError as wrong:
            raise InstrumentRefused(f"The {name} of the questionnaire cannot be kept. {wrong.messages[0]}") from wrong


def _read(path: Path) -> Mapping[str, Any]:
    try:
        form = questionnaires.parse(path.read_bytes())
    except (OSError, ValueError) as broken:
        raise InstrumentRefused(f"{path.name} cannot be read as JSON: {broken}") from broken
    if not isinstance(form, Mapping):
        raise InstrumentRefused(f"{path.name} holds no questionnaire.")
    return form


def _load_plans() -> None:
    plans = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((REFERENCE / "plans").glob("*.json"))]
    named = {code: plan for plan in plans for code in plan["protocols"] if plan["protocols"] != EVERY_OTHER}
    usual = next(plan for plan in plans if plan["protocols"] == EVERY_OTHER)
    planned = FollowUpStep.objects.values("protocol")
    for protocol in Protocol.objects.exclude(pk__in=planned):
        _load_plan(protocol, named.get(protocol.code, usual))


def _load_plan(protocol: Protocol, plan: Mapping[str, Any]) -> None:
    steps = [
        FollowUpStep(
            protocol=protocol,
            optimal_before=line["optimal"][0],
            optimal_after=line["optimal"][1],
            permitted_before=line["permitted"][0],
            permitted_after=line["permitted"][1],
            **{field: line[field] for field in ("code", "name", "kind", "offset", "unit", "instruments", "basis")},
        )
        for line in plan["steps"]
    ]
    FollowUpStep.objects.bulk_create(steps)
    RestrictionStage.objects.bulk_create(RestrictionStage(protocol=protocol, **stage) for stage in plan["stages"])
