from enum import EnumType
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import models, transaction

import clinic.states
import followup.states
import scheduling.states
from clinic.models import StatusChange
from clinic.states import CALL_MOVES, MessageStatus
from clinic.status import StepRefused, move, note
from followup.demo import walk
from scheduling.models import Referral
from scheduling.states import REFERRAL_MOVES, OfferStatus, ReferralStatus

STATES = (clinic.states, scheduling.states, followup.states)
TABLES = {
    f"{module.__name__}.{name}": table
    for module in STATES
    for name, table in vars(module).items()
    if name.endswith("_MOVES")
}
DOCS = Path(__file__).resolve().parents[2] / "docs" / "states.md"


@pytest.fixture
def referral(bare_site, at):
    patient = walk.register(bare_site, at=at)
    return Referral.objects.create(patient=patient, source="A practice", reason="Back pain", received_on=at.date())


def changes(row):
    found = StatusChange.objects.filter(subject=row._meta.label, subject_id=str(row.pk)).order_by("pk")
    return list(found.values_list("was", "became", "by", "at", "reason"))


def test_a_move_changes_the_status_and_leaves_who_when_and_why(referral, at):
    moved = move(referral, ReferralStatus.DECLINED, moves=REFERRAL_MOVES, by="ann", at=at, reason="Too far")

    referral.refresh_from_db()
    assert (moved.status, referral.status) == ("declined", "declined")
    assert changes(referral) == [("received", "declined", "ann", at, "Too far")]


def test_a_move_goes_by_the_row_as_it_is_and_not_as_it_was_read(referral, at):
    stale = Referral.objects.get(pk=referral.pk)
    move(referral, ReferralStatus.DECLINED, moves=REFERRAL_MOVES, by="ann", at=at)

    with pytest.raises(StepRefused) as refusal:
        move(stale, ReferralStatus.DECLINED, moves=REFERRAL_MOVES, by="bob", at=at)

    assert str(refusal.value) == "Referral of Reyes, Marta is Declined; it cannot become Declined."
    assert len(changes(referral)) == 1


def test_a_move_writes_the_columns_tied_to_it_in_the_same_update(referral, at):
    moved = move(
        referral, ReferralStatus.ACCEPTED, moves=REFERRAL_MOVES, by="ann", at=at, also={"source": "Another practice"}
    )

    assert Referral.objects.values_list("status", "source").get(pk=moved.pk) == ("accepted", "Another practice")


@pytest.mark.django_db(transaction=True)
def test_a_move_outside_a_transaction_is_a_mistake_that_shows(at, bare_site):
    patient = walk.register(bare_site, at=at)
    referral = Referral.objects.create(patient=patient, source="A practice", reason="Pain", received_on=at.date())

    with pytest.raises(transaction.TransactionManagementError):
        move(referral, ReferralStatus.ACCEPTED, moves=REFERRAL_MOVES, by="ann", at=at)


def test_a_note_is_kept_although_the_status_stays(referral, at):
    note(referral, was="received", became="received", by="ann", at=at, reason="Called the practice")

    assert changes(referral) == [("received", "received", "ann", at, "Called the practice")]


NO_WORKER_HOLDS = {MessageStatus.SENDING, MessageStatus.UNKNOWN}  # a call is made by a person
BORN_ENDED = {OfferStatus.PASSED}  # a turn on the waitlist at which somebody was passed over is only written down


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_of_moves_covers_its_states_and_every_state_can_be_reached(table):
    states = type(next(iter(table)))
    reached, waiting = set(), [next(iter(table)), *(state for state in BORN_ENDED if type(state) is states)]
    while waiting:
        state = waiting.pop()
        reached.add(state)
        waiting += table[state] - reached

    assert list(table) == [state for state in table if isinstance(state, states)]
    assert reached == set(table) == set(states) - (NO_WORKER_HOLDS if table is CALL_MOVES else set())


def test_every_status_has_a_table_of_moves():
    statuses = {
        choices
        for module in STATES
        for choices in vars(module).values()
        if isinstance(choices, EnumType)
        and issubclass(choices, models.TextChoices)
        and choices is not models.TextChoices
    }

    assert {type(next(iter(table))) for table in TABLES.values()} == statuses


def test_the_drawing_of_the_states_is_the_tables():
    drawn = StringIO()

    call_command("draw_states", stdout=drawn)

    assert DOCS.read_text(encoding="utf-8") == drawn.getvalue()
