"""Everything that goes wrong in a run, when, and for how long: drawn from the seed, so that a run can be had again."""

import heapq
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.faults.service import Crew, MailServer, Member, flush_broker, kill_broker, some, stop_at_once
from dev.instance import Instance

# What happens how often beside 200 kills, and for how many seconds, at least and at most.
FREEZE = "worker frozen past its lease"
BESIDE_200_KILLS = {
    FREEZE: (10, 2, 5),  # longer than the lease by that
    "beat or stand-in killed": (10, 0, 0),
    "broker flushed": (20, 0, 0),
    "broker killed": (20, 1, 5),
    "database stopped": (10, 1, 3),
    "mail server killed": (5, 5, 12),
}
KILL = "worker killed"
LONG_WITHOUT_BROKER = 40  # once in a long run: nobody rings, and it must be noticed
TICK = 0.05


@dataclass(frozen=True, order=True)
class Trouble:
    at: float  # seconds from the start
    what: str
    lasts: float = 0


def drawn(chance: random.Random, *, seconds: float, kills: int, lease: float) -> list[Trouble]:
    """Each kind of trouble is spread over the whole run, and comes at some moment of its part of it."""
    often = {KILL: (kills, 0.0, 0.0)} | {
        what: (max(1, round(count * kills / 200)), least, most)
        for what, (count, least, most) in BESIDE_200_KILLS.items()
    }
    troubles = [
        Trouble(
            (number + chance.random()) * seconds / count,
            what,
            chance.uniform(least, most) + (lease if what == FREEZE else 0),
        )
        for what, (count, least, most) in often.items()
        for number in range(count)
    ]
    if seconds > 8 * LONG_WITHOUT_BROKER:
        troubles.append(Trouble(seconds * 0.6, "broker killed", LONG_WITHOUT_BROKER))
    return sorted(troubles)


@dataclass
class Storm:
    """Brings the troubles over the service, one after the other, and puts right what a clinic's machines would."""

    instance: Instance
    mail: MailServer
    crew: Crew
    chance: random.Random
    happened: Counter[str] = field(default_factory=Counter)
    repairs: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    without_broker: float = 0

    def rage(self, troubles: list[Trouble], *, seconds: float, beside: Callable[[], None] = lambda: None) -> None:
        start, ahead = time.monotonic(), list(reversed(troubles))
        while (passed := time.monotonic() - start) < seconds or ahead:
            while ahead and ahead[-1].at <= passed:
                self.bring(ahead.pop())
            self.put_right()
            beside()
            time.sleep(TICK)

    def bring(self, trouble: Trouble) -> None:
        if self.strike(trouble.what, trouble.lasts):
            self.happened[trouble.what] += 1

    def strike(self, what: str, lasts: float) -> bool:
        """Whether it could happen: what is dead already cannot be killed."""
        match what:
            case "worker killed" | "beat or stand-in killed":
                return self.kill_one(self.crew.workers() if what == KILL else self.crew.others())
            case "worker frozen past its lease":
                return self.freeze_one(lasts)
            case "broker flushed":
                flush_broker(self.instance)
            case "broker killed":
                kill_broker(self.instance)
                self.without_broker = max(self.without_broker, time.monotonic() + lasts)
                self.after(lasts, self.broker_back)
            case "database stopped":
                stop_at_once(self.instance)
                self.after(lasts, self.instance.start_postgres)
            case "mail server killed":
                self.mail.kill()
                self.after(lasts, self.mail_back)
        return True

    def kill_one(self, members: list[Member]) -> bool:
        deadline = time.monotonic() + 5
        while (member := some(self.chance, members)) is None and time.monotonic() < deadline:
            self.put_right()
            time.sleep(TICK)
        if member:
            self.crew.kill(member)
        return member is not None

    def freeze_one(self, lasts: float) -> bool:
        member = some(self.chance, self.crew.workers())
        if member is None or any(worker.frozen for worker in self.crew.workers()):
            return False
        self.crew.freeze(member)
        self.after(lasts, lambda: self.crew.thaw(member))
        return True

    def broker_back(self) -> None:
        if time.monotonic() >= self.without_broker:  # a longer absence has begun meanwhile otherwise
            self.instance.start_valkey()

    def mail_back(self) -> None:
        if self.mail.process is None or self.mail.process.poll() is not None:
            self.mail.start()

    def after(self, seconds: float, repair: Callable[[], None]) -> None:
        heapq.heappush(self.repairs, (time.monotonic() + seconds, id(repair), repair))

    def put_right(self) -> None:
        while self.repairs and self.repairs[0][0] <= time.monotonic():
            heapq.heappop(self.repairs)[2]()
        self.crew.keep_alive()

    def calm(self) -> None:
        """The end of all trouble: everything runs again."""
        while self.repairs:
            self.put_right()
            time.sleep(TICK)
        self.instance.start()
        self.mail_back()
        for worker in self.crew.workers():
            if worker.frozen:
                self.crew.thaw(worker)
        self.crew.keep_alive()

    def losses(self) -> dict[str, int]:
        return {
            "kills": self.happened[KILL],
            "broker_losses": self.happened["broker flushed"] + self.happened["broker killed"],
            "database_losses": self.happened["database stopped"],
            "frozen": self.happened[FREEZE],
            "mail_server_losses": self.happened["mail server killed"],
            "others_killed": self.happened["beat or stand-in killed"],
        }
