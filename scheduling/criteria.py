"""Facts about a patient in, a reasoned verdict out.

A rule set is versioned data, owned by the clinic's medical lead: JSON with one rule per criterion. A rule holds, does
not hold, or cannot be decided because something is not recorded; the three values combine as in Kleene's logic, so what
is missing never passes, and is never in the way when something else decides. No Django here, and nothing is evaluated
as code.

A rule set::

    {"version": "clinic-2", "title": "...", "valid_days": 45, "rules": [RULE, ...]}

`valid_days` is how long a verdict may be relied on. A rule::

    {"id": "AGE", "title": "Age", "test": {"fact": "age_years", "between": [18, 75]}, "severity": "hard",
     "when": "verdict", "enabled": true, "unit": "years", "basis": "where the number comes from"}

`severity` is "hard" (blocks) or "soft" (warns). `when` is "verdict" (default) or "day_of_procedure"; `enabled` is true
by default; `unit` is optional and must be the fact's own. A test is one of::

    {"fact": F, "at_least": N}   also at_most, above, below; N may be {"fact": G, "times": 0.5}
    {"fact": F, "between": [N, N]}              both ends included
    {"fact": F, "is": V}         also is_not    V is a number, a word, or true/false
    {"fact": F, "one_of": [V, V]}               also none_of
    {"fact": F, "every": {"at_most": N}}        also some: for facts that are lists; an empty list is "not recorded"
    {"all": [TEST, ...]}   {"any": [TEST, ...]}   {"not": TEST}

`scheduling.vocabulary.FACTS` lists what may be asked.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from scheduling.vocabulary import FACTS, Fact, Number, checked, exact, in_words, is_finite

REFERENCE = Path(__file__).parent / "reference" / "criteria"

Moment = Literal["verdict", "day_of_procedure"]
Severity = Literal["hard", "soft"]

MOMENTS: tuple[Moment, ...] = ("verdict", "day_of_procedure")
SAID_MOMENTS: Mapping[Moment, str] = {"verdict": "for the verdict", "day_of_procedure": "on the day of the procedure"}
DEEPEST = 8  # nested combinators; a person reads these rules


@dataclass(frozen=True, slots=True)
class Scaled:
    """Another fact times a factor, as a limit."""

    fact: str
    times: Number


@dataclass(frozen=True, slots=True)
class Compare:
    """One fact against its limits; or, with a `quantifier`, every (or some) entry of a list."""

    fact: str
    operator: str
    limits: tuple[Any, ...]
    quantifier: Literal["", "every", "some"] = ""

    def decide(self, facts: Mapping[str, Any]) -> bool | None:
        value = facts.get(self.fact)
        limits = [_limit(limit, facts) for limit in self.limits]
        if not self.quantifier:
            return self._holds(value, limits)
        if not value:
            return None
        found = [self._holds(entry, limits) for entry in value]
        return all_of(found) if self.quantifier == "every" else any_of(found)

    def _holds(self, value: Any, limits: list[Any]) -> bool | None:
        if value is None or None in limits:
            return None
        return OPERATORS[self.operator].holds(exact(value), limits)

    def asks(self, facts: Mapping[str, Any]) -> str:
        """The limits in words: "18 to 75 years"."""
        fact = FACTS[self.fact]
        said = [_said_limit(limit, fact, facts) for limit in self.limits]
        phrase = OPERATORS[self.operator].phrase(said)
        unit = "" if any(isinstance(limit, Scaled | str | bool) for limit in self.limits) else fact.suffix
        return f"{phrase}{unit} at {self.quantifier} level" if self.quantifier else f"{phrase}{unit}"

    def sentence(self, facts: Mapping[str, Any]) -> str:
        fact = FACTS[self.fact]
        return f"{fact.label} {'' if fact.kind in ('number', 'numbers') else 'is '}{self.asks(facts)}"

    def names(self) -> list[str]:
        return [self.fact]


@dataclass(frozen=True, slots=True)
class Combine:
    """Several tests: all of them, or any of them."""

    word: Literal["all", "any"]
    parts: tuple["Test", ...]

    def decide(self, facts: Mapping[str, Any]) -> bool | None:
        found = [part.decide(facts) for part in self.parts]
        return all_of(found) if self.word == "all" else any_of(found)

    def sentence(self, facts: Mapping[str, Any]) -> str:
        said = [
            f"({part.sentence(facts)})" if isinstance(part, Combine) else part.sentence(facts) for part in self.parts
        ]
        return (" and " if self.word == "all" else " or ").join(said)

    def names(self) -> list[str]:
        return list(dict.fromkeys(name for part in self.parts for name in part.names()))


@dataclass(frozen=True, slots=True)
class Negate:
    part: "Test"

    def decide(self, facts: Mapping[str, Any]) -> bool | None:
        return opposite(self.part.decide(facts))

    def sentence(self, facts: Mapping[str, Any]) -> str:
        return f"not ({self.part.sentence(facts)})"

    def names(self) -> list[str]:
        return self.part.names()


Test = Compare | Combine | Negate


def all_of(parts: Iterable[bool | None]) -> bool | None:
    """And, in three values: one False decides; otherwise one None leaves it open."""
    known = list(parts)
    return False if False in known else None if None in known else True


def any_of(parts: Iterable[bool | None]) -> bool | None:
    """Or, in three values: one True decides; otherwise one None leaves it open."""
    known = list(parts)
    return True if True in known else None if None in known else False


def opposite(value: bool | None) -> bool | None:
    return None if value is None else not value


@dataclass(frozen=True, slots=True)
class Operator:
    """A word of the rule language: the kinds it compares, the limits it takes, how it is said, and when it holds."""

    kinds: frozenset[str]
    limits: Literal["one", "pair", "list"]
    said: str
    holds: Callable[[Any, list[Any]], bool]

    def phrase(self, limits: list[str]) -> str:
        return self.said.format((" to " if self.limits == "pair" else " or ").join(limits))


_ORDERED = frozenset({"number"})
_NAMED = frozenset({"number", "word"})

OPERATORS: Mapping[str, Operator] = {
    "at_least": Operator(_ORDERED, "one", "at least {}", lambda value, limits: bool(value >= limits[0])),
    "at_most": Operator(_ORDERED, "one", "at most {}", lambda value, limits: bool(value <= limits[0])),
    "above": Operator(_ORDERED, "one", "above {}", lambda value, limits: bool(value > limits[0])),
    "below": Operator(_ORDERED, "one", "below {}", lambda value, limits: bool(value < limits[0])),
    "between": Operator(_ORDERED, "pair", "{}", lambda value, limits: bool(limits[0] <= value <= limits[1])),
    "is": Operator(_NAMED | {"yes_no"}, "one", "{}", lambda value, limits: bool(value == limits[0])),
    "is_not": Operator(_NAMED, "one", "other than {}", lambda value, limits: bool(value != limits[0])),
    "one_of": Operator(_NAMED, "list", "{}", lambda value, limits: value in limits),
    "none_of": Operator(_NAMED, "list", "other than {}", lambda value, limits: value not in limits),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One criterion. `basis` says where its number comes from, as the medical lead wrote it."""

    id: str
    title: str
    test: Test
    severity: Severity
    when: Moment
    enabled: bool
    basis: str


@dataclass(frozen=True, slots=True)
class Reason:
    """What one rule said. `outcome`: pass, fail, cannot_decide, warn (a soft rule not passed) or later.

    `value` and `threshold` are in words; `line` is the whole in one sentence.
    """

    id: str
    title: str
    outcome: Literal["pass", "fail", "cannot_decide", "warn", "later"]
    severity: Severity
    value: str
    threshold: str
    basis: str
    line: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the patient may be treated under one version of the rules, with one reason for every enabled rule."""

    outcome: Literal["eligible", "not_eligible", "cannot_decide"]
    reasons: tuple[Reason, ...]
    version: str

    @property
    def lines(self) -> tuple[str, ...]:
        """A sentence for every rule that did not simply pass, in the order of the rules."""
        return tuple(reason.line for reason in self.reasons if reason.outcome != "pass")


@dataclass(frozen=True, slots=True)
class RuleSet:
    """A version of the rules; a verdict under them holds for `valid_days`."""

    version: str
    title: str
    valid_days: int
    rules: tuple[Rule, ...]

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "RuleSet":
        """Read a rule set out of parsed JSON. ValueError names the rule and what to put right."""
        if not isinstance(document, Mapping):
            raise ValueError("A rule set is a JSON object with version, title, valid_days and rules.")
        _only(document, {"version", "title", "valid_days", "rules"}, {"note"}, "The rule set")
        valid_days = document["valid_days"]
        if not isinstance(valid_days, int) or isinstance(valid_days, bool) or valid_days < 1:
            raise ValueError(
                f"The rule set: valid_days is {valid_days!r}; it must be a whole number of days, 1 or more."
            )
        if not isinstance(document["rules"], list) or not document["rules"]:
            raise ValueError("The rule set: rules must be a list with at least one rule.")
        rules = tuple(_rule(number, form) for number, form in enumerate(document["rules"], start=1))
        for number, rule in enumerate(rules):
            if rule.id in (earlier.id for earlier in rules[:number]):
                raise ValueError(f"Rule {rule.id}: the id is used twice; give each rule its own.")
        version, title = (_text(document[key], f"The rule set: {key}") for key in ("version", "title"))
        return cls(version, title, valid_days, rules)


def judge(rules: RuleSet, facts: Mapping[str, Any], *, when: Moment = "verdict") -> Verdict:
    """The verdict at one moment.

    `facts` is any part of `FACTS`; what is absent or None is not recorded. Disabled rules are left out. Rules of a
    later moment appear as "later" and do not count; rules of an earlier one were judged then and are left out.

    One hard rule that fails makes the patient not eligible, whatever else is missing; else one hard rule that cannot be
    decided leaves the verdict open. Soft rules only warn. ValueError, naming the fact: an unknown name, a wrong type,
    NaN, a value out of its range, an infinity where "never" makes no sense.
    """
    if when not in MOMENTS:
        raise ValueError(f"{when!r} is not a moment; rules are judged at {' or '.join(MOMENTS)}.")
    known = checked(facts)
    at_hand = [rule for rule in rules.rules if rule.enabled and MOMENTS.index(rule.when) >= MOMENTS.index(when)]
    reasons = tuple(_reason(rule, known, later=rule.when != when) for rule in at_hand)
    outcomes = {reason.outcome for reason in reasons}
    if "fail" in outcomes:
        return Verdict("not_eligible", reasons, rules.version)
    return Verdict("cannot_decide" if "cannot_decide" in outcomes else "eligible", reasons, rules.version)


def reference_document(version: str) -> dict[str, Any]:
    """The JSON of a rule set that ships with the service: "ddd-default-1" or "idct-phase3-1". Load it as data; edit it.

    ValueError for a version that does not ship.
    """
    shipped = {path.stem: path for path in sorted(REFERENCE.glob("*.json"))}
    if version not in shipped:
        raise ValueError(f"No rule set {version!r} ships with the service; there is {', '.join(shipped)}.")
    return cast("dict[str, Any]", json.loads(shipped[version].read_text(encoding="utf-8")))


def _reason(rule: Rule, facts: Mapping[str, Any], *, later: bool) -> Reason:
    holds = rule.test.decide(facts)
    outcome: Literal["pass", "fail", "cannot_decide", "warn", "later"]
    if later:
        outcome = "later"
    elif holds:
        outcome = "pass"
    elif rule.severity == "soft":
        outcome = "warn"
    else:
        outcome = "cannot_decide" if holds is None else "fail"
    value = f"checked {SAID_MOMENTS[rule.when]}" if later else _value(rule.test, facts)
    threshold = rule.test.asks(facts) if isinstance(rule.test, Compare) else rule.test.sentence(facts)
    must = "must" if rule.severity == "hard" else "should"
    verb = "be" if isinstance(rule.test, Compare) else "meet:"
    line = f"{rule.title}: {value}; {must} {verb} {threshold} ({rule.basis})"
    return Reason(rule.id, rule.title, outcome, rule.severity, value, threshold, rule.basis, line)


def _value(test: Test, facts: Mapping[str, Any]) -> str:
    """The facts the test looks at, in words; with their names when there are several."""
    if isinstance(test, Compare):
        return FACTS[test.fact].said(facts.get(test.fact))
    return ", ".join(f"{FACTS[name].label}: {FACTS[name].said(facts.get(name))}" for name in test.names())


def _rule(number: int, form: Any) -> Rule:
    if not isinstance(form, Mapping):
        raise ValueError(f"Rule {number} of the set: a rule is a JSON object.")
    name = f"Rule {_text(form.get('id'), f'Rule {number} of the set: id')}"
    _only(form, {"id", "title", "test", "severity", "basis"}, {"when", "enabled", "unit"}, name)
    if form["severity"] not in ("hard", "soft"):
        raise ValueError(f"{name}: severity is {form['severity']!r}; use 'hard' or 'soft'.")
    if form.get("when", "verdict") not in MOMENTS:
        raise ValueError(f"{name}: when is {form['when']!r}; use {' or '.join(map(repr, MOMENTS))}.")
    if not isinstance(form.get("enabled", True), bool):
        raise ValueError(f"{name}: enabled is {form['enabled']!r}; use true or false.")
    test = _test(name, form["test"], 0)
    for fact in test.names():
        if form.get("unit", FACTS[fact].unit) != FACTS[fact].unit:
            raise ValueError(f"{name}: unit is {form['unit']!r}, but {fact} is in {FACTS[fact].unit!r}; use that.")
    return Rule(
        id=form["id"],
        title=_text(form["title"], f"{name}: title"),
        test=test,
        severity=form["severity"],
        when=form.get("when", "verdict"),
        enabled=form.get("enabled", True),
        basis=_text(form["basis"], f"{name}: basis"),
    )


def _test(name: str, form: Any, depth: int) -> Test:
    if not isinstance(form, Mapping) or depth > DEEPEST:
        raise ValueError(f"{name}: a test is a JSON object, not more than {DEEPEST} deep.")
    if "fact" in form:
        return _comparison(name, form)
    if set(form) == {"not"}:
        return Negate(_test(name, form["not"], depth + 1))
    if set(form) in ({"all"}, {"any"}):
        ((word, parts),) = form.items()
        if not isinstance(parts, list) or not parts:
            raise ValueError(f"{name}: {word!r} takes a list of at least one test.")
        return Combine(word, tuple(_test(name, part, depth + 1) for part in parts))
    raise ValueError(f"{name}: a test has a 'fact', or is one of 'all', 'any', 'not'; this one has {sorted(form)}.")


def _comparison(name: str, form: Mapping[str, Any]) -> Compare:
    fact = _fact(name, form["fact"])
    operator, limits = _sole(name, {word: value for word, value in form.items() if word != "fact"})
    kind = FACTS[fact].kind
    if kind in ("numbers", "words"):
        if operator not in ("every", "some") or not isinstance(limits, Mapping):
            raise ValueError(
                f"{name}: {fact} is a list; ask 'every' or 'some' of it, such as {{'every': {{'is': 1}}}}."
            )
        inner, limits = _sole(name, limits)
        quantifier = cast('Literal["every", "some"]', operator)
        return Compare(fact, inner, _limits(name, fact, kind.removesuffix("s"), inner, limits), quantifier)
    return Compare(fact, operator, _limits(name, fact, kind, operator, limits))


def _limits(name: str, fact: str, kind: str, operator: str, given: Any) -> tuple[Any, ...]:
    """The limits of a comparison, checked against what the operator takes and the fact is."""
    if operator not in OPERATORS or kind not in OPERATORS[operator].kinds:
        fitting = ", ".join(word for word, known in OPERATORS.items() if kind in known.kinds)
        raise ValueError(f"{name}: {operator!r} does not compare {fact}; use one of {fitting}.")
    shape = OPERATORS[operator].limits
    if shape != "one" and not (isinstance(given, list) and given and (shape == "list" or len(given) == 2)):
        raise ValueError(f"{name}: {operator!r} takes a list of {'two limits' if shape == 'pair' else 'values'}.")
    limits = tuple(_checked_limit(name, fact, kind, limit) for limit in (given if shape != "one" else [given]))
    if shape == "pair" and not any(isinstance(limit, Scaled) for limit in limits) and limits[0] > limits[1]:
        raise ValueError(f"{name}: between {limits[0]} and {limits[1]}; put the lower limit first.")
    return limits


def _checked_limit(name: str, fact: str, kind: str, limit: Any) -> Any:
    if kind == "number" and isinstance(limit, Mapping):
        _only(limit, {"fact", "times"}, set(), name)
        if FACTS[_fact(name, limit["fact"])].kind != "number" or not is_finite(limit["times"]) or limit["times"] <= 0:
            raise ValueError(f"{name}: a limit may be a number fact times a number above 0, not {dict(limit)!r}.")
        return Scaled(limit["fact"], limit["times"])
    fits = {"number": is_finite(limit), "yes_no": isinstance(limit, bool), "word": isinstance(limit, str) and limit}
    if not fits[kind]:
        wanted = {"number": "a finite number", "yes_no": "true or false", "word": "a word"}[kind]
        raise ValueError(f"{name}: {fact} is compared with {limit!r}; it takes {wanted}.")
    return limit


def _fact(name: str, fact: Any) -> str:
    if not isinstance(fact, str) or fact not in FACTS:
        raise ValueError(f"{name}: {fact!r} is not a known fact; use one of {', '.join(FACTS)}.")
    return fact


def _sole(name: str, form: Mapping[str, Any]) -> tuple[str, Any]:
    if len(form) != 1:
        raise ValueError(f"{name}: a fact takes exactly one comparison, not {sorted(form)}.")
    return next(iter(form.items()))


def _only(form: Mapping[str, Any], needed: set[str], allowed: set[str], name: str) -> None:
    if missing := needed - set(form):
        raise ValueError(f"{name}: {', '.join(sorted(missing))} is missing.")
    if unknown := set(form) - needed - allowed:
        raise ValueError(f"{name}: {', '.join(sorted(unknown))} is not understood; remove it.")


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} is {value!r}; it must be some text.")
    return value


def _limit(limit: Any, facts: Mapping[str, Any]) -> Any:
    """A limit ready to compare with; None if it hangs on a fact that is not recorded."""
    if not isinstance(limit, Scaled):
        return exact(limit)
    other = facts.get(limit.fact)
    return None if other is None else exact(other) * exact(limit.times)


def _said_limit(limit: Any, fact: Fact, facts: Mapping[str, Any]) -> str:
    if not isinstance(limit, Scaled):
        return in_words(limit)
    value = _limit(limit, facts)
    result = "not recorded" if value is None else in_words(value) + fact.suffix
    return f"{in_words(limit.times)} times {FACTS[limit.fact].label} ({result})"
