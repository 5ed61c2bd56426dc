"""A call is a task for a person: on the desk with the number, until it is made or not needed any more."""

from datetime import timedelta

import pytest
from django.core import mail
from django.urls import reverse

from clinic import messages, patients, phone
from clinic.models import Message, StatusChange
from clinic.states import MessageStatus as S
from clinic.status import StepRefused
from followup.demo import walk
from tests.desk import Desk, offered, refusals, said

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def plain(settings):
    settings.MESSAGE_KINDS = {"test.plain": "tests.plain.Plain"}


@pytest.fixture
def patient(site, at):
    return walk.register(site, at=at)


@pytest.fixture
def call(patient, at):
    def due(occasion="", **given):
        row = Message(
            site=patient.site, patient=patient, kind="test.plain", about="1", occasion=occasion, channel="phone",
            due_at=given.pop("due_at", at), **given,
        )  # fmt: skip
        messages.queue([row])
        return row

    return due


def waiting(at):
    return list(phone.waiting(at=at))


def test_a_call_is_never_sent_by_a_machine(call, at):
    task = call()

    assert messages.deliver(at=at) == {}
    assert (waiting(at), waiting(at - HOUR), mail.outbox) == ([task], [], [])


def test_a_call_that_was_answered_is_done(call, patient, at):
    done = phone.call_made(call(), outcome="answered", note=" She  comes. ", by="ann", at=at)

    assert (done.status, done.sent_at, done.sent_to, waiting(at)) == (S.SENT, at, patient.phone, [])
    change = StatusChange.objects.latest("pk")
    assert (change.was, change.became, change.by, change.reason) == ("due", "sent", "ann", "She comes.")
    assert Message.objects.get().attempts == 1


def test_who_does_not_answer_is_called_again_later_the_same_day(call, at):
    again = phone.call_made(call(), outcome="no_answer", by="ann", at=at)

    assert (again.status, again.due_at, again.reason) == (S.DUE, at + 2 * HOUR, "No answer.")
    assert (waiting(at), waiting(at + 2 * HOUR)) == ([], [again])


def test_who_asks_to_be_called_again_is_called_when_they_said(call, at):
    task = call(not_after=at + 48 * HOUR)

    again = phone.call_made(task, outcome="call_again", note="After work", again_at=at + 8 * HOUR, by="ann", at=at)

    assert (again.due_at, again.reason) == (at + 8 * HOUR, "Asked to be called again. After work")


def test_a_call_that_cannot_wait_stays_on_the_queue(call, at):
    task = call(not_after=at + HOUR)

    assert waiting(at) == [phone.call_made(task, outcome="no_answer", by="ann", at=at)]


def test_a_wrong_number_waits_for_the_right_one(call, at):
    failed = phone.call_made(call(), outcome="wrong_number", by="ann", at=at)

    assert (failed.status, failed.reason) == (S.FAILED, phone.WRONG_NUMBER)
    messages.resend(failed, by="ann", at=at)
    assert waiting(at) == [failed]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"outcome": "perhaps"}, "Say how the call went"),
        ({"outcome": "call_again", "again_at": "past"}, "That time has passed"),
    ],
)
def test_what_cannot_be_is_refused(call, at, given, words):
    if given.get("again_at"):
        given = given | {"again_at": at - HOUR}

    with pytest.raises(StepRefused, match=words):
        phone.call_made(call(), by="ann", at=at, **given)


def test_a_call_that_was_made_is_not_made_again(call, at):
    task = call()
    phone.call_made(task, outcome="answered", by="ann", at=at)

    with pytest.raises(StepRefused, match="not, or no longer"):
        phone.call_made(task, outcome="answered", by="ben", at=at)


def test_what_nobody_needs_to_say_any_more_leaves_the_queue_with_its_reason(call, at):
    call("still")
    call("cancelled")
    call("late", not_after=at)
    call("tomorrow", due_at=at + 24 * HOUR)

    assert phone.tidy(at=at) == 2
    reasons = dict(Message.objects.filter(status=S.SKIPPED).values_list("occasion", "reason"))
    assert reasons == {"cancelled": "The appointment was cancelled.", "late": "It was too late to be of use."}
    assert [row.occasion for row in waiting(at)] == ["still"]


def test_nobody_calls_a_patient_who_has_died(call, patient, at):
    call()
    patients.mark_deceased(patient, on=None, by="ann", at=at)

    assert (waiting(at), phone.tidy(at=at)) == ([], 1)
    assert Message.objects.get().reason == "The patient has died."


def test_the_desk_has_the_number_and_records_the_call(call, coordinator, stranger, at, clock_stopped):
    task = call(not_after=at + 48 * HOUR)
    desk = Desk(coordinator)

    look = next(
        q for q in desk.client.get(reverse("admin:index")).context["queues"] if q.queue.title == "Calls to make"
    )
    assert (look.count, look.lines[0].who, look.lines[0].action) == (1, "Reyes, Marta", "Call")
    assert "phone +13125550100; before Wed 6 May 2026, 09:00 (Chicago)" in look.lines[0].what
    assert desk.client.get(look.url).context["cl"].result_count == 1
    assert "The call was made" in offered(desk.page(task))
    assert "Call Reyes, Marta on +13125550100" in desk.ask(task, "call").content.decode()

    again = desk.take(task, "call", outcome="call_again", again_at="2026-05-03T09:00", note="")
    assert refusals(again) == ["That time has passed: say when to call again."]
    assert said(desk.take(task, "call", outcome="answered", note="She comes")) == (
        "The call to Reyes, Marta is recorded."
    )
    assert offered(desk.page(task)) == []
    assert Desk(stranger).page(task).status_code == 302
