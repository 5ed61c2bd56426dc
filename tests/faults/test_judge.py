"""The judge of the fault run can find every fault it is there for."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bench.faults.judge import Deed, Inbox, Mail, judge, subjects
from bench.faults.truth import Duty

NINE = datetime(2026, 5, 4, 9, tzinfo=UTC)
TEN = NINE + timedelta(hours=1)
REMINDER, BOOKED, CANCELLED = "appointment.reminder", "appointment.booked", "appointment.cancelled"


def duty(kind=REMINDER, *, due_at=NINE, to="ada"):
    return Duty(to, kind, due_at, NINE)


def mail(kind=REMINDER, *, at=NINE, message_id="<1>", to="ada"):
    return Mail(at, message_id, to, kind)


def cancelled(*, done, what="cancelled"):
    return Deed(what, "ada", done - timedelta(seconds=1), done)


def judged(duties, mails, *, deeds=(), claims=()):
    verdict = judge(duties, deeds, mails, dict(claims), until=TEN)
    return {rule: len(getattr(verdict, rule)) for rule in verdict.broken}


def test_what_arrives_once_and_not_before_its_time_breaks_no_rule():
    assert judged([duty(), duty(BOOKED)], [mail(), mail(BOOKED, message_id="<2>")]) == {}


@pytest.mark.parametrize(
    ("duties", "mails", "broken"),
    [
        ([duty()], [], {"lost": 1}),
        ([duty()], [mail(), mail(at=TEN)], {"doubled": 1}),
        ([duty()], [mail(), mail(message_id="<2>")], {"doubled": 1}),  # two rows for one thing
        ([duty()], [mail(at=NINE - timedelta(seconds=1))], {"early": 1}),
        ([duty(due_at=TEN + timedelta(days=1))], [mail()], {"early": 1}),
        ([], [mail()], {"unexpected": 1}),
        ([duty()], [mail(to="eve")], {"lost": 1, "unexpected": 1}),
    ],
)
def test_every_rule_can_be_broken(duties, mails, broken):
    assert judged(duties, mails) == broken


def test_what_is_for_tomorrow_is_not_lost_today():
    assert judged([duty(due_at=TEN + timedelta(days=1))], []) == {}


def test_what_was_called_off_need_not_arrive():
    assert judged([duty()], [], deeds=[cancelled(done=NINE)]) == {}


def test_a_mail_about_a_cancelled_visit_counts_from_when_it_was_claimed():
    sent, told = mail(at=NINE + timedelta(seconds=9)), mail(CANCELLED, at=TEN, message_id="<2>")
    deeds = [cancelled(done=NINE + timedelta(seconds=5))]

    before = {"<1>": [NINE + timedelta(seconds=4)]}
    after = {"<1>": [NINE + timedelta(seconds=4), NINE + timedelta(seconds=6)]}

    assert judged([duty()], [sent, told], deeds=deeds, claims=before) == {}
    assert judged([duty()], [sent, told], deeds=deeds, claims=after) == {"sent_after_cancel": 1}
    assert judged([duty()], [sent, told], deeds=deeds) == {"sent_after_cancel": 1}  # nobody saw it claimed


def test_who_has_heard_of_a_visit_must_hear_that_it_is_off():
    deeds = [cancelled(done=TEN)]

    assert judged([duty()], [mail()], deeds=deeds) == {"lost": 1}
    assert judged([duty()], [mail(), mail(CANCELLED, at=TEN, message_id="<2>")], deeds=deeds) == {}


def test_nothing_is_sent_to_who_has_died():
    assert judged([duty()], [mail(at=TEN)], deeds=[cancelled(done=NINE, what="died")]) == {"sent_after_cancel": 1}


def test_the_subject_tells_what_kind_of_mail_it_is(tmp_path):
    mails = {"<1>": "Reminder: your appointment on Mon 4 May", "<2>": "How are you today?", "<3>": "Buy now"}
    folder = tmp_path / "new"
    folder.mkdir()
    for name, subject in mails.items():
        (folder / name.strip("<>")).write_text(f"Message-ID: {name}\nSubject: {subject}\n\nhello\n")
    inbox = Inbox(tmp_path, subjects(Path(__file__).parents[2]))

    kinds = [found.kind for found in inbox.mails((NINE.isoformat(), message_id, "ada") for message_id in mails)]

    assert kinds == [REMINDER, "survey.invitation.short", "unclear: Buy now"]


def test_no_two_kinds_of_mail_have_the_same_subject():
    patterns = subjects(Path(__file__).parents[2])
    said = {
        kind: re.sub(r"\\(.)", r"\1", pattern.pattern).replace(".+", "Monday") for kind, pattern in patterns.items()
    }

    for kind, subject in said.items():
        assert [other for other, pattern in patterns.items() if pattern.fullmatch(subject)] == [kind]
