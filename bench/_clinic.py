"""A large clinic whose year is full: 86 rooms, devices and people, 85 % occupied, 50,000 live reservations, and
patients who wait for a four-step autologous procedure. Built in the empty database that the bench is given."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import count, islice
from random import Random
from typing import Any

from django.core.management import call_command
from django.db import connection
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.utils.timezone import now

from clinic.clock import at_local, local_date
from clinic.models import Site
from followup.demo import walk
from scheduling import protocols
from scheduling.models import (
    Appointment,
    AppointmentStep,
    CriteriaSet,
    Episode,
    OpeningHours,
    Product,
    Protocol,
    ProtocolStep,
    Reservation,
    Resource,
    StepNeed,
)
from scheduling.models.appointment import ReservationKind
from scheduling.models.product import RegulatoryBasis
from scheduling.models.protocol import ResourceKind as K
from scheduling.models.protocol import StepCode, Visit
from scheduling.states import AppointmentStatus

POOLS = {
    K.INTERVENTIONALIST: 20,
    K.NURSE: 30,
    K.C_ARM: 4,
    K.FLUOROSCOPY_SUITE: 6,
    K.PROCEDURE_ROOM: 10,
    K.BENCH: 4,
    K.RECOVERY_BAY: 12,
}
RESERVATIONS = 50_000
DAYS = 365
ZONE = "America/Chicago"
OPENS, MINUTES_OPEN = time(8), 540
# How full one resource is on a busy day of the clinic, and on a quiet one, which is every third: 85 % in the mean.
BUSY, QUIET = (1.0, 1.0, 0.97, 0.93), (0.75, 0.65, 0.55, 0.45)
STEPS = (
    # code, minutes, gap, needs (kind, role, turnover after)
    (StepCode.HARVEST, 30, (0, 0), ((K.INTERVENTIONALIST, "doctor", 0), (K.PROCEDURE_ROOM, "", 0), (K.NURSE, "", 0))),
    (StepCode.PROCESSING, 45, (0, 30), ((K.BENCH, "", 0),)),
    (
        StepCode.INJECTION,
        45,
        (0, 30),
        ((K.INTERVENTIONALIST, "doctor", 0), (K.FLUOROSCOPY_SUITE, "", 15), (K.C_ARM, "", 0), (K.NURSE, "", 0)),
    ),
    (StepCode.RECOVERY, 60, (0, 30), ((K.RECOVERY_BAY, "", 0),)),
)
Block = tuple[int, datetime, datetime]  # whose number, from, until


@dataclass
class Clinic:
    site: Site
    episode: Episode
    at: datetime
    first: date

    @property
    def last(self) -> date:
        return self.first + timedelta(days=DAYS - 2)


def build() -> Clinic:
    call_command("migrate", verbosity=0)
    at = now()
    protocols.load_all(at=at)
    Product.objects.filter(regulatory_basis=RegulatoryBasis.NONE).update(
        regulatory_basis=RegulatoryBasis.IND, regulatory_reference="MADE UP FOR THE BENCH"
    )
    site = Site.objects.create(code="bench", name="Bench", time_zone=ZONE, phone="+1 312 555 0142")
    OpeningHours.objects.bulk_create(
        OpeningHours(site=site, weekday=day, opens=OPENS, closes=time(17)) for day in range(5)
    )
    resources = Resource.objects.bulk_create(
        Resource(site=site, kind=kind, name=f"{kind.label} {number + 1}")
        for kind, many in POOLS.items()
        for number in range(many)
    )
    add_protocol()
    episode = patient(site, "MRN-SEARCH", at=at)
    first = local_date(at, ZONE) + timedelta(days=1)
    blocks = list(blocks_of(len(resources), first, DAYS, RESERVATIONS))
    reserve(site, resources, blocks, at=at)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    return Clinic(site, episode, at, first)


def add_protocol() -> None:
    model = walk.protocol()
    rules = model.criteria
    criteria = CriteriaSet.objects.create(  # a verdict that lasts as long as the search looks
        version="bench", title=rules.title, rules=rules.rules, valid_days=2 * DAYS, loaded_at=rules.loaded_at
    )
    protocol = Protocol.objects.create(
        code="bench", name="Four steps, autologous", product=model.product, criteria=criteria, max_levels=2
    )
    for order, (code, minutes, (least, most), needs) in enumerate(STEPS, start=1):
        step = ProtocolStep.objects.create(
            protocol=protocol,
            visit=Visit.PROCEDURE,
            order=order,
            code=code,
            minutes=minutes,
            gap_min=least,
            gap_max=most,
        )
        StepNeed.objects.bulk_create(
            StepNeed(step=step, kind=kind, role=role, turnover_minutes=turnover) for kind, role, turnover in needs
        )


def patient(site: Site, mrn: str, *, at: datetime) -> Episode:
    return walk.open_episode(walk.register(site, at=at, mrn=mrn), at=at, code="bench")


def blocks_of(resources: int, first: date, days: int, wanted: int) -> Iterator[Block]:
    """About `wanted` stretches of busy time: 85 % of every resource's open hours, in two or three blocks a day."""
    dice = Random(7)
    hours = list(open_hours(first, days))
    each = wanted / (resources * len(hours))
    fullness = [dice.choice((BUSY, BUSY, QUIET)) for _ in hours]
    for number in range(resources):
        for (opened, _), how_full in zip(hours, fullness, strict=True):
            for start, end in blocks_of_a_day(dice, dice.choice(how_full), int(each) + (dice.random() < each % 1)):
                yield number, opened + timedelta(minutes=5 * start), opened + timedelta(minutes=5 * end)


def open_hours(first: date, days: int) -> Iterator[tuple[datetime, datetime]]:
    for day in (first + timedelta(days=number) for number in range(days)):
        if day.weekday() < 5:
            opened = at_local(day, OPENS, ZONE)
            yield opened, opened + timedelta(minutes=MINUTES_OPEN)


def blocks_of_a_day(dice: Random, fullness: float, blocks: int) -> Iterator[tuple[int, int]]:
    """Ticks since the opening: so much of the day, cut into blocks, with what is free spread between them."""
    ticks = MINUTES_OPEN // 5
    busy = round(ticks * fullness)
    cuts = sorted(dice.sample(range(1, busy), blocks - 1))
    gaps = sorted(dice.randrange(ticks - busy + 1) for _ in range(blocks))
    for start, end, gap in zip([0, *cuts], [*cuts, busy], gaps, strict=True):
        yield start + gap, end + gap


def reserve(site: Site, resources: list[Resource], blocks: list[Block], *, at: datetime) -> None:
    """The blocks as booked visits of other patients: three reservations a step, four steps a visit."""
    other = patient(site, "MRN-OTHERS", at=at)
    mri = ProtocolStep.objects.filter(protocol=other.protocol).first()
    by_day = sorted(blocks, key=lambda block: (block[1].date(), block[0], block[1]))
    visits: list[Any] = []
    steps: list[Any] = []
    rows: list[Any] = []
    for together in batched(by_day, 12):
        during = DateTimeTZRange(together[0][1], together[0][2])
        visits.append(
            Appointment(
                site=site, episode=other, visit=Visit.MRI, status=AppointmentStatus.BOOKED, during=during, changed_at=at
            )
        )
        for order, three in zip(count(1), batched(together, 3), strict=False):
            steps.append(
                AppointmentStep(
                    appointment=visits[-1],
                    protocol_step=mri,
                    order=order,
                    code=StepCode.MRI,
                    during=during,
                    changed_at=at,
                )
            )
            rows += [
                Reservation(
                    resource=resources[number],
                    during=DateTimeTZRange(start, end),
                    kind=ReservationKind.STEP,
                    step=steps[-1],
                )
                for number, start, end in three
            ]
    Appointment.objects.bulk_create(visits, batch_size=5000)
    AppointmentStep.objects.bulk_create(steps, batch_size=5000)
    Reservation.objects.bulk_create(rows, batch_size=5000)


def batched(rows: list[Any] | tuple[Any, ...], size: int) -> Iterator[tuple[Any, ...]]:
    there = iter(rows)
    while some := tuple(islice(there, size)):
        yield some
