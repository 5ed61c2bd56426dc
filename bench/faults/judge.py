"""Holds the mail server's ledger against what was due: what was lost, doubled, sent too early, or sent about something
that was over before the message was claimed."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

from bench.faults.truth import Duty

CANCELLED, MOVED = "appointment.cancelled", "appointment.moved"
OF_THE_VISIT = ("appointment.booked", "appointment.preparation", "appointment.reminder", MOVED)
Key = tuple[str, str]


@dataclass(frozen=True)
class Mail:
    at: datetime
    message_id: str
    to: str
    kind: str

    @property
    def key(self) -> Key:
        return self.to, self.kind


@dataclass(frozen=True)
class Deed:
    """A visit was cancelled or moved, a patient died or asked for no more mail: committed between these two moments."""

    what: str
    to: str
    begun: datetime
    done: datetime

    def ends(self, kind: str) -> bool:
        return kind not in {CANCELLED, MOVED} and (self.what != "moved" or kind in OF_THE_VISIT)


@dataclass
class Verdict:
    due: int
    lost: list[Key] = field(default_factory=list)
    doubled: list[Key] = field(default_factory=list)
    early: list[Key] = field(default_factory=list)
    sent_after_cancel: list[Key] = field(default_factory=list)
    unexpected: list[Key] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)

    RULES = ("lost", "doubled", "early", "sent_after_cancel", "unexpected")

    @property
    def broken(self) -> list[str]:
        return [rule for rule in self.RULES if getattr(self, rule)]

    def figures(self) -> dict[str, Any]:
        counted = {rule: len(getattr(self, rule)) for rule in self.RULES}
        return {
            "due": self.due,
            **counted,
            "delay_p50_s": share(self.delays, 0.5),
            "delay_p99_s": share(self.delays, 0.99),
        }


def share(values: Sequence[float], part: float) -> float | None:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * part))], 2) if ordered else None


def judge(
    duties: Iterable[Duty],
    deeds: Iterable[Deed],
    mails: Iterable[Mail],
    claims: Mapping[str, Sequence[datetime]],
    *,
    until: datetime,
) -> Verdict:
    """What fell due `until` then must have arrived, unless a deed ended it; what is for later, and what was claimed
    after its end, must not. `claims`: when each Message-ID was claimed, by the database's own witness; a mail without
    one counts as claimed when it arrived."""
    got: dict[Key, list[Mail]] = defaultdict(list)
    for mail in sorted(mails, key=lambda mail: mail.at):
        got[mail.key].append(mail)
    ended = {deed.to: deed for deed in deeds}
    owed: dict[Key, Duty] = {}
    for duty in sorted(duties, key=lambda duty: duty.due_at):
        owed.setdefault(duty.key, duty)  # the same kind again, tomorrow, is not for today
    owed |= {duty.key: duty for deed in ended.values() for duty in _told_of(deed, got)}
    over = {key for key, duty in owed.items() if duty.to in ended and ended[duty.to].ends(duty.kind)}
    must = {key for key, duty in owed.items() if duty.due_at <= until} - over
    verdict = Verdict(due=len(must), lost=sorted(must - got.keys()))
    for key, copies in got.items():
        verdict.doubled += [key] * (len(copies) - 1)
        if key not in owed:
            verdict.unexpected += [key] * (not _excused(key, ended))
            continue
        first = copies[0]
        if first.at < owed[key].due_at:
            verdict.early.append(key)
        elif key in over:
            verdict.sent_after_cancel += [key for mail in copies if claimed(mail, claims) > ended[mail.to].done]
        else:
            verdict.delays.append((first.at - owed[key].since).total_seconds())
    return verdict


def _told_of(deed: Deed, got: Mapping[Key, Sequence[Mail]]) -> list[Duty]:
    """Whoever has heard of a visit hears that it is off; whoever keeps it hears of its new time."""
    heard = any((deed.to, kind) in got for kind in OF_THE_VISIT)
    if deed.what == "moved":
        return [Duty(deed.to, MOVED, deed.begun, deed.done)]
    return [Duty(deed.to, CANCELLED, deed.begun, deed.done)] if deed.what == "cancelled" and heard else []


def _excused(key: Key, ended: Mapping[str, Deed]) -> bool:
    """A message may have been on its way when the visit was cancelled, and not have arrived in the end."""
    return key[1] == CANCELLED and key[0] in ended and ended[key[0]].what == "cancelled"


def claimed(mail: Mail, claims: Mapping[str, Sequence[datetime]]) -> datetime:
    return max((at for at in claims.get(mail.message_id, ()) if at <= mail.at), default=mail.at)


# Reading what the mail server kept


class Inbox:
    """The mails behind the ledger's lines. Which kind one is, its subject says: no id of ours is believed."""

    def __init__(self, maildir: Path, subjects: Mapping[str, re.Pattern[str]]):
        self.maildir = maildir
        self.subjects = subjects
        self.known: dict[str, str] = {}  # Message-ID -> kind
        self.seen: set[str] = set()

    def kind_of(self, message_id: str) -> str:
        if message_id not in self.known:
            self._read()
        return self.known.get(message_id, "no such mail")

    def _read(self) -> None:
        for file in self.maildir.glob("new/*"):
            if file.name not in self.seen:
                self.seen.add(file.name)
                mail = message_from_bytes(file.read_bytes(), policy=policy.default)
                self.known[" ".join(str(mail["Message-ID"]).split())] = self._kind(str(mail["Subject"]))

    def _kind(self, subject: str) -> str:
        found = [kind for kind, pattern in self.subjects.items() if pattern.fullmatch(subject)]
        return found[0] if len(found) == 1 else f"unclear: {subject}"

    def mails(self, ledger: Iterable[tuple[str, str, str]]) -> list[Mail]:
        return [
            Mail(datetime.fromisoformat(at), message_id, to, self.kind_of(message_id)) for at, message_id, to in ledger
        ]


SAID = re.compile(
    r"{% blocktrans(?:late)?[^%]*%}(.*?){% endblocktrans(?:late)? %}|{% trans(?:late)? \"(.*?)\" %}", re.DOTALL
)
CASE = re.compile(r"{% if (\w+) %}(.*?){% else %}(.*?){% endif %}", re.DOTALL)


def subjects(project: Path) -> dict[str, re.Pattern[str]]:
    """How the subject of each kind of mail reads in English, from its template; one that depends on something makes
    two kinds, such as `survey.invitation` and `survey.invitation.short`."""
    found = {}
    for template in sorted(project.glob("*/templates/*/mail/*.subject.txt")):
        kind, text = template.name.removesuffix(".subject.txt"), template.read_text(encoding="utf-8")
        if case := CASE.search(text):
            found[f"{kind}.{case[1]}"] = _pattern(case[2])
            text = case[3]
        found[kind] = _pattern(text)
    return found


def _pattern(text: str) -> re.Pattern[str]:
    (one, other), *more = SAID.findall(text)
    if more:
        raise ValueError(f"Nobody can tell a mail by a subject that is said in several ways: {text}")
    words = re.escape(" ".join((one or other).split()))
    return re.compile(re.sub(r"\\{\\{.*?\\}\\}", ".+", words))
