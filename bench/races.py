"""Many clients at one last chance, through a real web server; then a minute of everything at once. What counts is not
how fast it is but that nobody is booked twice, nobody half, and that who loses is told so."""

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any

from django.core.management import call_command
from django.db import connection
from django.utils.timezone import now

from bench._invariants import broken, overlaps
from bench._service import Client, gunicorn
from clinic import links
from clinic.models import Site
from followup import demo
from followup.demo import walk
from scheduling import bookings, protocols
from scheduling.api.offers import seal
from scheduling.models import Episode, Resource
from scheduling.models.protocol import ResourceKind, Visit
from scheduling.slots import Option
from scheduling.states import AppointmentStatus

P = Visit.PROCEDURE
TOKENS = 4  # for each client; the API allows each token 600 requests a minute
DONE = {200, 201}
REFUSED = {409, 412}
DEAD = {AppointmentStatus.CANCELLED, AppointmentStatus.NOSHOW}


def run() -> dict[str, Any]:
    call_command("migrate", verbosity=0)
    return measure(clients=50, rounds=200, soakers=32, seconds=60)


def measure(*, clients: int, rounds: int, soakers: int, seconds: float) -> dict[str, Any]:
    at = now()
    protocols.load_all(at=at)
    before = deadlocks()
    race, soak = found_hall(at, clients), found_clinic(at, soakers)
    with gunicorn() as port:
        raced = races(port, race, rounds=rounds, at=at)
        soaked = soaking(port, soak, seconds=seconds, at=at)
    wrong = broken()
    for rule, rows in wrong.items():
        tell(f"{rule}: {rows}")
    return {
        "rounds": rounds,
        "clients": clients,
        "winners_per_round": raced["winners"] / rounds,
        "rounds_with_one_winner": raced["fair"],
        "race_ms_per_round": raced["ms"],
        "deadlocks": deadlocks() - before,
        "other_errors": raced["errors"] + soaked["errors"] + sum(map(len, wrong.values())),
        "overlaps": overlaps(),
        "http_500": raced["http_500"] + soaked["http_500"],
        "soak_clients": soakers,
        "soak_seconds": seconds,
        "soak_done": soaked["done"],
        "soak_refused": soaked["refused"],
        "soak_busy": soaked["busy"],
        "ops_per_s": soaked["ops_per_s"],
        "p99_ms": soaked["p99_ms"],
    }


def tell(trouble: str) -> None:
    print(f"bench.races: {trouble}", file=sys.stderr, flush=True)


def deadlocks() -> int:
    """Counted by the server; every other connection has to be closed, so that each has told its count."""
    time.sleep(1.5)
    with connection.cursor() as cursor:
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return cursor.fetchone()[0]


# The clinics


class Clinic:
    """A site, somebody to book for each client, and the keys to its API."""

    def __init__(self, site: Site, at: datetime, clients: int) -> None:
        self.site = site
        self.episodes = [
            walk.open_episode(walk.register(site, at=at, mrn=f"{site.code}-{number}"), at=at)
            for number in range(clients)
        ]
        ends = at + timedelta(days=1)
        self.tokens = [
            [links.issue_token(site, name="bench", may_write=True, expires_at=ends, at=at)[1] for _ in range(TOKENS)]
            for _ in range(clients)
        ]

    def clients(self, port: int) -> list[Client]:
        return [Client(port, tokens) for tokens in self.tokens]

    def options(self, at: datetime, *, limit: int, per_day: int) -> tuple[Option, ...]:
        earliest = at.date() + timedelta(days=7)
        return bookings.find(self.episodes[0], visit=P, earliest=earliest, at=at, limit=limit, per_day=per_day).options


def found_clinic(at: datetime, clients: int) -> Clinic:
    """A small clinic that far too many want to come to."""
    return Clinic(demo.found_clinic(code="soak"), at, clients)


def found_hall(at: datetime, clients: int) -> Clinic:
    """A clinic with everything for everybody at once, but one C-arm."""
    site = demo.found_clinic(code="race")
    Resource.objects.filter(site=site, name="C-arm 2").update(active=False)
    for kind, pattern in (
        Resource.objects.filter(site=site).exclude(kind=ResourceKind.C_ARM).values_list("kind", "capabilities")
    ):
        Resource.objects.bulk_create(
            [
                Resource(site=site, kind=kind, name=f"{kind} {number}", capabilities=pattern)
                for number in range(2 * clients)
            ],
            ignore_conflicts=True,
        )
    return Clinic(site, at, clients)


# The race


def races(port: int, clinic: Clinic, *, rounds: int, at: datetime) -> dict[str, Any]:
    """In every other round all want the same chain; in the others each has rooms and people of their own, and only
    the C-arm is the same."""
    chain = clinic.options(at, limit=1, per_day=1)[0]
    same = [chain] * len(clinic.episodes)
    apart = [with_own_units(chain, clinic.site, number) for number in range(len(clinic.episodes))]
    clients = clinic.clients(port)
    counts: Counter[str] = Counter()
    took = 0.0
    with ThreadPoolExecutor(len(clients)) as pool:
        for number in range(rounds):
            bodies = [
                {"episode": str(episode.pk), "visit": P, "option": seal(option, episode=episode, visit=P)}
                for episode, option in zip(clinic.episodes, apart if number % 2 else same, strict=True)
            ]
            started = time.perf_counter()
            answers = at_once(pool, [book(client, body) for client, body in zip(clients, bodies, strict=True)])
            took += time.perf_counter() - started
            winners = [said["id"] for status, said in answers if status == 201]
            losers = [said for status, said in answers if status == 409 and lost_to_somebody(said)]
            counts["winners"] += len(winners)
            counts["fair"] += len(winners) == 1
            counts["errors"] += len(answers) - len(winners) - len(losers)
            counts["http_500"] += sum(status >= 500 for status, _ in answers)
            for rule, rows in broken().items():
                counts["errors"] += 1
                tell(f"after round {number}, {rule}: {rows}")
            for winner in winners:
                status, said = clients[0].post(f"appointments/{winner}/cancel", {"reason": "The next round"})
                if status != 200:
                    raise RuntimeError(f"The round cannot be played again: {status} {said}")
    for client in clients:
        client.close()
    return {**{name: counts[name] for name in ("winners", "fair", "errors", "http_500")}, "ms": took / rounds * 1000}


def with_own_units(chain: Option, site: Site, number: int) -> Option:
    """The same times with other rooms and people, none of which another client takes; only the C-arm is the same."""
    kinds = dict(Resource.objects.filter(site=site).values_list("pk", "kind"))
    named: dict[str, list[str]] = {}
    for step in chain.steps:
        for unit in (unit for need in step.units for unit in need if unit.isdigit()):
            of_kind = named.setdefault(kinds[int(unit)], [])
            if unit not in of_kind:
                of_kind.append(unit)
    mine = {}
    for kind, units in named.items():
        pool = Resource.objects.filter(site=site, kind=kind, active=True).order_by("-pk").values_list("pk", flat=True)
        own = units if kind == ResourceKind.C_ARM else map(str, pool[number * len(units) : (number + 1) * len(units)])
        mine.update(zip(units, own, strict=True))
    return Option(
        tuple(
            replace(step, units=tuple(tuple(mine.get(unit, unit) for unit in need) for need in step.units))
            for step in chain.steps
        )
    )


def book(client: Client, body: dict[str, Any]) -> Callable[[], tuple[int, dict[str, Any]]]:
    client.take_turns()
    return lambda: client.post("appointments", body)


def lost_to_somebody(said: dict[str, Any]) -> bool:
    """A typed refusal: what is taken, when, and by what kind of visit."""
    return said.get("code") == "time_taken" and bool(said["resource"] and said["during"] and said["holder"])


def at_once(pool: ThreadPoolExecutor, jobs: list[Callable[[], Any]]) -> list[Any]:
    start = Barrier(len(jobs))

    def together(job: Callable[[], Any]) -> Any:
        start.wait()
        return job()

    return list(pool.map(together, jobs))


# The soak


def soaking(port: int, clinic: Clinic, *, seconds: float, at: datetime) -> dict[str, Any]:
    """Everybody does what comes to mind, for a while."""
    options = clinic.options(at, limit=120, per_day=6)
    rooms = list(Resource.objects.filter(site=clinic.site, patient=None).values_list("pk", "kind"))
    people = [
        Soaker(number, client, episode, options, rooms)
        for number, (client, episode) in enumerate(zip(clinic.clients(port), clinic.episodes, strict=True))
    ]
    until = time.monotonic() + seconds
    started = time.perf_counter()
    with ThreadPoolExecutor(len(people)) as pool:
        list(pool.map(lambda one: one.work(until), people))
    took = time.perf_counter() - started
    times = sorted(ms for one in people for ms in one.times)
    counts = sum((one.counts for one in people), Counter())
    return {
        "done": counts["done"],
        "refused": counts["refused"],
        "busy": counts["busy"],
        "errors": counts["error"],
        "http_500": counts["http_500"],
        "ops_per_s": len(times) / took,
        "p99_ms": times[int(len(times) * 0.99)],
    }


class Soaker:
    """One client of the soak: holds, books, confirms, moves, swaps, cancels, and now and then closes a room."""

    def __init__(
        self, number: int, client: Client, episode: Episode, options: tuple[Option, ...], rooms: list[tuple[int, str]]
    ) -> None:
        self.dice = random.Random(number)
        self.client, self.episode, self.options, self.rooms = client, episode, options, rooms
        self.mine: dict[str, Any] | None = None  # the appointment as it was last seen
        self.times: list[float] = []
        self.counts: Counter[str] = Counter()

    def work(self, until: float) -> None:
        while time.monotonic() < until:
            self.client.take_turns()
            if self.mine is None:
                self.dice.choice([self.hold, self.book])()
            else:
                steps = [self.book_held, self.confirm, self.move, self.move, self.swap, self.swap, self.cancel]
                self.dice.choice([*steps, self.close])()
        self.client.close()

    def post(self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any] | None:
        """What it said if it was done; None if it was refused, and then the client looks again."""
        started = time.perf_counter()
        status, said = self.client.post(path, body, headers)
        self.times.append((time.perf_counter() - started) * 1000)
        self.counts["http_500"] += status >= 500
        self.counts["busy"] += said.get("code") == "busy"
        typed = status in REFUSED and bool(said.get("detail"))
        self.counts["done" if status in DONE else "refused" if typed else "error"] += 1
        if status not in DONE and not typed:
            tell(f"{path} was answered {status}: {said}")
        return said if status in DONE else None

    def look(self) -> None:
        if self.mine is not None:
            status, said = self.client.get(f"appointments/{self.mine['id']}")
            self.mine = said if status == 200 and said["status"] not in DEAD else None

    def take(self, step: str, body: dict[str, Any]) -> None:
        headers = {"If-Match": f'"{self.mine["revision"]}"'} if self.dice.random() < 0.5 else {}
        said = self.post(f"appointments/{self.mine['id']}/{step}", body, headers)
        self.mine = said or self.mine
        self.look()

    def option(self) -> str:
        return seal(self.dice.choice(self.options), episode=self.episode, visit=P)

    def wanted(self) -> dict[str, Any]:
        return {"episode": str(self.episode.pk), "visit": P, "option": self.option()}

    def hold(self) -> None:
        self.mine = self.post("appointments/hold", self.wanted())

    def book(self) -> None:
        """Sometimes the answer is lost, and the client asks again with the same key."""
        body, key = self.wanted(), {"Idempotency-Key": f"{self.dice.random()}"}
        first = self.post("appointments", body, key)
        again = self.post("appointments", body, key) if self.dice.random() < 0.2 else first
        if first is not None and again != first:
            self.counts["error"] += 1
            tell(f"asked again, it was answered otherwise: {first} and {again}")
        self.mine = first

    def book_held(self) -> None:
        self.take("book", {})

    def confirm(self) -> None:
        self.take("confirm", {})

    def move(self) -> None:
        self.take("move", {"option": self.option(), "reason": "Asked for another time"})

    def swap(self) -> None:
        taken = [it for step in self.mine["steps"] for it in step["resources"]]
        if taken:
            out = self.dice.choice(taken)
            into = self.dice.choice([pk for pk, kind in self.rooms if kind == out["kind"]])
            self.take("swap", {"out": out["id"], "into": into, "reason": "Not there today"})

    def cancel(self) -> None:
        self.take("cancel", {"reason": "Cannot come"})

    def close(self) -> None:
        """Close a room for an afternoon and reopen it: whoever was there is cancelled."""
        room = self.dice.choice(self.rooms)[0]
        start = self.dice.choice(self.options).start
        during = {"start": start.isoformat(), "end": (start + timedelta(hours=2)).isoformat()}
        status, affected = self.client.get(f"resources/{room}/affected", **during)
        plan = [{"appointment": row["id"], "option": None} for row in affected] if status == 200 else []
        closed = self.post("closures", {"resource": room, "during": during, "reason": "Repair", "plan": plan})
        if closed:
            self.post(f"closures/{closed['id']}/reopen", {})
        self.look()
