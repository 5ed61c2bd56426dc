"""The first twenty times of a four-step autologous procedure in a clinic whose year is 85 % full: the search beside a
bare loop over big integers, OR-Tools CP-SAT, a scan over bookings and PostgreSQL multiranges; through the API; and
booked."""

import sys
from collections.abc import Callable
from datetime import timedelta
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Any

from django.utils.timezone import now

from bench import _clinic, _rivals
from bench._service import Client, gunicorn
from bench._timing import in_the_database, milliseconds
from clinic import links
from clinic.clock import day_bounds
from scheduling import availability, bookings, chains, slots
from scheduling.models.protocol import ResourceKind, Visit
from scheduling.units import Unit

OPTIONS = 20
SECONDS = 15.0  # the most that CP-SAT and the scan are given; what is not done by then is reported as a lower bound
REQUESTS, BOOKINGS = 120, 50
WARM_UP = 20  # until each connection keeps the plans of what it asks
GROWTH_DAYS = 3650


def run() -> dict[str, Any]:
    clinic = _clinic.build()
    search = Question(clinic)
    figures: dict[str, Any] = {
        "resources": len(search.units) - 1,
        "days": _clinic.DAYS,
        "reservations": _clinic.RESERVATIONS,
        "occupied": round(search.occupied(), 3),
    }
    figures |= against_the_limit(search)
    figures |= against_others(search, figures["search_ms"])
    figures |= through_the_api(clinic)
    figures |= booked(clinic)
    return figures | growing(search)


class Question:
    """The clinic's year in memory, and the question about it."""

    def __init__(self, clinic: _clinic.Clinic) -> None:
        zone = clinic.site.zone
        self.clinic, self.zone = clinic, zone
        self.chain = chains.chain(clinic.episode.protocol, visit=Visit.PROCEDURE, levels=1)
        self.horizon = slots.Horizon.spanning(day_bounds(clinic.first, zone)[0], day_bounds(clinic.last, zone)[1])
        self.roster = availability.Roster(
            clinic.site, chains.kinds(self.chain), patient=clinic.episode.patient, at=clinic.at
        )
        self.units = self.roster.units(self.horizon)
        self.opened = self.roster.hours.opening(self.roster.resources[:1], self.horizon).popitem()[1]

    def ask(self, units: list[Unit] | None = None, horizon: slots.Horizon | None = None) -> tuple[slots.Option, ...]:
        horizon = horizon or self.horizon
        return slots.find(
            self.chain, units or self.units, horizon, not_before=horizon.start, limit=OPTIONS, zone=self.zone
        )

    def occupied(self) -> float:
        taken = [(self.opened & ~unit.free).bit_count() for unit in self.units if unit.kind != ResourceKind.PATIENT]
        return sum(taken) / len(taken) / self.opened.bit_count()

    def hopeless(self, units: list[Unit], horizon: slots.Horizon) -> list[Unit]:
        """The same, but no C-arm is ever free for longer than half an hour."""
        every_seventh = ((1 << 7 * (horizon.ticks // 7 + 1)) - 1) // ((1 << 7) - 1)
        return [
            Unit(unit.id, unit.kind, unit.capabilities, unit.free & ~every_seventh, unit.load)
            if unit.kind == ResourceKind.C_ARM
            else unit
            for unit in units
        ]


def against_the_limit(search: Question) -> dict[str, Any]:
    free, ticks = _rivals.by_kind(search.units), search.horizon.ticks
    starts = [search.horizon.tick_down(option.start) for option in search.ask()]
    assert starts == _rivals.bare_loop(free, ticks, limit=OPTIONS), "both must find the same starts"
    assert starts == _rivals.bare_loop(free, ticks, limit=OPTIONS, piece=slots.FIRST_PIECE_TICKS)
    none = search.hopeless(search.units, search.horizon)
    assert search.ask(none) == ()
    ours, bare, pieces, proof = best_of(
        search.ask,
        lambda: _rivals.bare_loop(free, ticks, limit=OPTIONS),
        lambda: _rivals.bare_loop(free, ticks, limit=OPTIONS, piece=slots.FIRST_PIECE_TICKS),
        lambda: search.ask(none),
    )
    return {
        "starts": len(starts),
        "last_start_day": starts[-1] // (24 * 12),
        "search_ms": ours,
        "limit_ms": bare,
        "limit_in_pieces_ms": pieces,
        "search_over_limit": ours / bare,
        "infeasible_ms": proof,
        "bottleneck_ms": milliseconds(
            lambda: slots.bottleneck(
                search.chain, none, search.horizon, not_before=search.horizon.start, zone=search.zone
            ),
            times=3,
        ),
    }


def best_of(*actions: Callable[[], Any], times: int = 15) -> list[float]:
    """The fastest of several runs of each, in turn and in processor time, so that a busy machine counts for nobody."""
    taken: list[list[float]] = [[] for _ in actions]
    for _ in range(times):
        for action, own in zip(actions, taken, strict=True):
            own.append(timed(action))
    return [min(own) for own in taken]


def timed(action: Callable[[], Any]) -> float:
    start = process_time()
    action()
    return (process_time() - start) * 1000


def against_others(search: Question, search_ms: float) -> dict[str, Any]:
    horizon = search.horizon
    busy = _rivals.busy_spans(search.units, search.opened, horizon)
    opened = _rivals.spans(search.opened, horizon)
    closed = _rivals.spans(horizon.all & ~search.opened, horizon)
    starts = [horizon.tick_down(option.start) for option in search.ask()]
    begun = process_time()
    found, done = _rivals.scan(busy, opened, limit=OPTIONS, seconds=SECONDS)
    scan_ms = (process_time() - begun) * 1000
    assert found == starts[: len(found)], "the scan must find the same starts"
    (beside,) = best_of(search.ask)  # a slow minute of the machine is slow for both
    begun = perf_counter()
    first, proven = _rivals.cp_sat(busy, closed, horizon.ticks, seconds=SECONDS)
    cpsat_ms = (perf_counter() - begun) * 1000
    assert not proven or first == starts[0], "CP-SAT must find the same first start"
    return {
        "scan_ms": scan_ms,
        "scan_found": len(found),
        "scan_over_search": scan_ms / min(beside, search_ms),
        "scan_is": "done" if done else f"a lower bound: stopped after {SECONDS:.0f} s",
        "cpsat_ms": cpsat_ms,
        "cpsat_over_search": cpsat_ms / min(beside, search_ms),
        "cpsat_is": "the first start only" if proven else f"a lower bound: stopped after {SECONDS:.0f} s of one start",
    }


def through_the_api(clinic: _clinic.Clinic) -> dict[str, Any]:
    asked = {
        "site": clinic.site.pk,
        "zone": clinic.site.time_zone,
        "first": clinic.first,
        "limit": OPTIONS,
    }
    whole = milliseconds(lambda: _rivals.multiranges(**asked, last=clinic.last), times=3)
    month = milliseconds(lambda: _rivals.multiranges(**asked, last=clinic.first + timedelta(days=27)), times=3)
    taken = asked_over_the_wire(clinic)
    return {
        "api_p50_ms": median(taken),
        "api_p95_ms": quantiles(taken, n=20)[-1],
        "sql_ms": whole,
        "sql_four_weeks_ms": month,
        "sql_over_api": whole / median(taken),
    }


def asked_over_the_wire(clinic: _clinic.Clinic) -> list[float]:
    """The milliseconds of each request to a service behind gunicorn, after a few that do not count."""
    until = clinic.at + timedelta(days=1)
    _, secret = links.issue_token(clinic.site, name="Bench", may_write=False, expires_at=until, at=clinic.at)
    asked = {"visit": "procedure", "earliest": str(clinic.first), "latest": str(clinic.last), "limit": str(OPTIONS)}
    taken = []
    with gunicorn(workers=1, threads=2) as port:
        client = Client(port, [secret])
        for _ in range(WARM_UP + REQUESTS):
            begun = perf_counter()
            status, found = client.get(f"episodes/{clinic.episode.pk}/slots", **asked)
            taken.append((perf_counter() - begun) * 1000)
            assert (status, len(found.get("options", ()))) == (200, OPTIONS), found
        client.close()
    return taken[WARM_UP:]


def booked(clinic: _clinic.Clinic) -> dict[str, Any]:
    """One visit after the other, found, booked and given up again; only the booking is timed: its statements and its
    commit as the database answers them, and the whole with what Python does in between."""
    taken, whole = [], []
    for number in range(WARM_UP + BOOKINGS):
        at = now()
        episode = _clinic.patient(clinic.site, f"MRN-{number}", at=at)
        found = bookings.find(episode, visit=Visit.PROCEDURE, earliest=clinic.first, latest=clinic.last, at=at, limit=1)
        begun = perf_counter()
        with in_the_database() as statements:
            visit = bookings.book_at(episode, visit=Visit.PROCEDURE, option=found.options[0], by="bench", at=at)
        whole.append((perf_counter() - begun) * 1000)
        taken.append(sum(statements))
        bookings.cancel(visit, reason="Bench", by="bench", at=at)
    taken, whole = taken[WARM_UP:], whole[WARM_UP:]
    return {
        "book_statements": len(statements),
        "book_p50_ms": median(taken),
        "book_p95_ms": quantiles(taken, n=20)[-1],
        "book_with_python_p50_ms": median(whole),
        "book_with_python_p95_ms": quantiles(whole, n=20)[-1],
    }


def growing(search: Question) -> dict[str, Any]:
    """Ten times the days, the resources, the reservations: the first twenty, the proof that there is none, and how much
    memory the year takes."""
    many = {kind: 10 * number for kind, number in _clinic.POOLS.items()}
    days, wanted, clinic = _clinic.DAYS, _clinic.RESERVATIONS, _clinic.POOLS
    cases = {
        "1x": (clinic, days, wanted),
        "10x_days": (clinic, GROWTH_DAYS, 10 * wanted),
        "10x_resources": (many, days, 10 * wanted),
        "10x_reservations": (clinic, days, 10 * wanted),
    }
    figures = {}
    for name, (pools, length, reservations) in cases.items():
        horizon, units = made_up(search, pools, length, reservations)
        none = search.hopeless(units, horizon)
        found, proof = best_of(
            lambda: search.ask(units, horizon),  # noqa: B023
            lambda: search.ask(none, horizon),  # noqa: B023
            times=3,
        )
        figures[f"growth_{name}_search_ms"] = found
        figures[f"growth_{name}_infeasible_ms"] = proof
        figures[f"growth_{name}_mb"] = sum(sys.getsizeof(unit.free) for unit in units) / 1e6
    return figures


def made_up(
    search: Question, pools: dict[ResourceKind, int], days: int, reservations: int
) -> tuple[slots.Horizon, list[Unit]]:
    """A clinic in memory, as full as the other."""
    kinds = [kind for kind, many in pools.items() for _ in range(many)]
    horizon = slots.Horizon(search.horizon.start, days * 24 * 12)
    taken: list[list[tuple[int, int]]] = [[] for _ in kinds]
    for number, start, end in _clinic.blocks_of(len(kinds), search.clinic.first, days, reservations):
        taken[number].append((horizon.tick_down(start), horizon.tick_down(end)))
    opened = horizon.free(_clinic.open_hours(search.clinic.first, days))
    units = [
        Unit(f"{number:04}", kind, frozenset(), opened & ~horizon.bits(spans), len(spans))
        for number, (kind, spans) in enumerate(zip(kinds, taken, strict=True))
    ]
    return horizon, [*units, Unit("patient", ResourceKind.PATIENT, frozenset(), horizon.all)]
