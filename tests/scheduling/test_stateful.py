"""Hold, book, confirm, move, swap, cancel, close, reopen and let time pass, in any order, on a real database. After
each step raw SQL looks for all that could be wrong in the diary, and a refused step must have changed nothing."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from bench._invariants import broken
from clinic.status import StepRefused
from followup.demo import walk
from scheduling import bookings, closures
from scheduling.models import Appointment, Closure, Protocol, Resource, Unit
from scheduling.models.protocol import Visit
from scheduling.states import AppointmentStatus

pytestmark = pytest.mark.slow

P = Visit.PROCEDURE
FROM_STOCK = "disc-progenitor-allogeneic"
WRITTEN = (
    "scheduling_appointment",
    "scheduling_appointmentstep",
    "scheduling_reservation",
    "scheduling_closure",
    "scheduling_unit",
    "scheduling_episode",
    "clinic_statuschange",
)
# Ids are random, and hypothesis repeats what it did.
OLDEST_FIRST = ("changed_at", "episode__patient__mrn", "during", "pk")
numbers = st.sampled_from(range(60))
mostly = st.sampled_from([True, True, True, False])
minutes = st.sampled_from([1, 5, 14, 15, 16, 24 * 60])


class Diary(RuleBasedStateMachine):
    """Everything that books, against a clinic with two C-arms, one of them shut, and four patients."""

    world: "World"

    def __init__(self):
        super().__init__()
        self.at = self.world.at
        self.savepoint = transaction.atomic()
        self.savepoint.__enter__()

    def teardown(self):
        transaction.set_rollback(True)
        self.savepoint.__exit__(None, None, None)

    @initialize(first=numbers, second=numbers)
    def two_are_booked(self, first, second):
        self.hold_or_book(True, 0, first)
        self.hold_or_book(False, 2, second)

    @rule(firm=st.booleans(), who=numbers, when=numbers)
    def hold_or_book(self, firm, who, when):
        verb = bookings.book_at if firm else bookings.hold
        episode = pick(self.world.episodes, who)
        option = pick(self.world.options[episode.protocol.code], when)
        self.take(lambda: verb(episode, visit=P, option=option, by=walk.BY, at=self.at))

    @rule(which=numbers)
    def book_what_is_held(self, which):
        late = lambda held: held.held_until is not None and held.held_until <= self.at  # noqa: E731
        self.change(which, lambda held: bookings.book(held, by=walk.BY, at=self.at), refused_if=late)

    @rule(which=numbers)
    def confirm(self, which):
        self.change(which, lambda visit: bookings.confirm(visit, by=walk.BY, at=self.at))

    @rule(which=numbers, when=numbers)
    def move(self, which, when):
        def step(visit):
            option = pick(self.world.options[visit.episode.protocol.code], when)
            return bookings.move(visit, option=option, reason="Asked for it", by=walk.BY, at=self.at)

        self.change(which, step)

    @rule(which=numbers, what=numbers, whom=numbers, seen=mostly)
    def swap(self, which, what, whom, seen):
        def step(visit):
            out = pick(
                list(Resource.objects.filter(patient=None, reservations__step__appointment=visit).order_by("pk")), what
            )
            into = pick(list(Resource.objects.filter(kind=out.kind).exclude(pk=out.pk).order_by("pk")) or [out], whom)
            stale = {visit.revision - (not seen)}
            return bookings.swap(visit, out=out, into=into, reason="Is ill", seen=stale, by=walk.BY, at=self.at)

        self.change(which, step, refused_if=lambda visit: not seen)

    @rule(which=numbers)
    def cancel(self, which):
        self.change(which, lambda visit: bookings.cancel(visit, reason="Cannot come", by=walk.BY, at=self.at))

    @rule(which=numbers, what=numbers, hours=st.integers(1, 9), where=st.none() | numbers)
    def close(self, which, what, hours, where):
        """Whoever is there is moved to another time, or cancelled if there is none for them."""
        start = pick(list(Appointment.objects.order_by(*OLDEST_FIRST)), which).during.lower
        resource, during = pick(self.world.resources, what), DateTimeTZRange(start, start + timedelta(hours=hours))
        plan = {
            visit.pk: None if where is None else pick(self.world.options[visit.episode.protocol.code], where + place)
            for place, visit in enumerate(closures.affected(resource, during))
        }
        self.take(lambda: closures.close(resource, during=during, reason="Repair", plan=plan, by=walk.BY, at=self.at))

    @rule(which=numbers)
    def reopen(self, which):
        if shut := list(Closure.objects.order_by("pk")):
            self.take(lambda: closures.reopen(pick(shut, which), by=walk.BY, at=self.at))

    @rule(by=minutes)
    def time_passes(self, by):
        self.at += timedelta(minutes=by)

    @rule()
    def sweep(self):
        bookings.lapse_holds(at=self.at)
        assert not Appointment.objects.filter(status=AppointmentStatus.HELD, held_until__lte=self.at).exists()

    @invariant()
    def nothing_is_wrong(self):
        assert broken() == {}

    def change(self, which, step, refused_if=lambda visit: False):
        """Take a step with one of the visits that are not over; it must be refused if `refused_if`."""
        live = Appointment.objects.exclude(status=AppointmentStatus.CANCELLED)
        if visits := list(live.order_by(*OLDEST_FIRST)):
            visit = pick(visits, which)
            must_be_refused = refused_if(visit)
            assert not (self.take(lambda: step(visit)) and must_be_refused)

    def take(self, step):
        """Whether it was done. What was refused must have left no trace."""
        before = everything()
        try:
            step()
        except StepRefused:
            assert everything() == before
            return False
        return True


def pick(rows, number):
    return rows[number % len(rows)]


def everything():
    """All that a step may write, as one value to compare."""
    found = []
    with connection.cursor() as cursor:
        for table in WRITTEN:
            cursor.execute(f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t")  # noqa: S608
            found.append(cursor.fetchone()[0])
    return found


class World:
    """Two patients who give their own cells and two who get a vial, of which there is one; times that overlap."""

    def __init__(self, site, at):
        self.at = at
        Resource.objects.filter(site=site, name__in=["C-arm 2", "Recovery bay 3", "Recovery bay 4"]).update(
            active=False
        )
        codes = [walk.SAME_SESSION] * 2 + [FROM_STOCK] * 2
        protocol = Protocol.objects.get(code=FROM_STOCK, active=True)
        vial = Unit.objects.filter(lot__product=protocol.product_id).earliest("identifier")
        Unit.objects.exclude(pk=vial.pk).delete()
        self.episodes = [
            walk.open_episode(walk.register(site, at=at, mrn=f"MRN-{number}"), at=at, code=code)
            for number, code in enumerate(codes)
        ]
        self.options = {
            episode.protocol.code: bookings.find(
                episode, visit=P, earliest=at.date() + timedelta(days=7), at=at, limit=8, per_day=4
            ).options
            for episode in self.episodes
        }
        self.resources = list(Resource.objects.filter(site=site, patient=None).order_by("pk"))


def test_the_diary_is_never_wrong_whatever_happens_in_whatever_order(site, at):
    Diary.world = World(site, at)

    run_state_machine_as_test(
        Diary,
        settings=settings(
            max_examples=25,
            stateful_step_count=20,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
