"""When patients are left in peace: the quiet hours of a clinic, by its own clock. What would go out then waits for the
morning, or leaves the evening before where waiting would be too late. It imports no Django."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta

from clinic.clock import Zone, at_local, check_aware, local_date, zone_of

EVENING = timedelta(hours=1)  # so long before the quiet hours, so that a relay that is slow is not heard at night


@dataclass(frozen=True, slots=True)
class Quiet:
    """From `begins` to `ends` on the clock of `zone`, across midnight if it ends earlier than it begins; the same time
    twice means none. A clock that goes back may show a quiet time a second time: that is quiet again."""

    begins: time
    ends: time
    zone: Zone

    def covers(self, at: datetime) -> bool:
        return self.covers_time(self._wall(at))

    def covers_time(self, wall: time) -> bool:
        if self.begins <= self.ends:
            return self.begins <= wall < self.ends
        return wall >= self.begins or wall < self.ends

    def moved(self, at: datetime, *, latest: datetime, not_before: datetime | None = None) -> datetime:
        """`at`, unless that is quiet: then the morning, if that comes before `latest`; else the evening before, if that
        is not before `not_before`. Where neither will do, it goes at `at` all the same."""
        if not self.covers(at):
            return at
        morning = self.ended_after(at)
        if morning < latest:
            return morning
        evening = self.began_before(at) - EVENING
        too_early = not_before is not None and evening < not_before
        return at if too_early or self.covers(evening) else evening

    def ended_after(self, at: datetime) -> datetime:
        """The first instant after the quiet instant `at` at which the clock shows the end."""
        day = local_date(at, self.zone)
        if self._wall(at) >= self.ends:
            day += timedelta(days=1)
        first = at_local(day, self.ends, self.zone)
        if first > at:
            return first
        again = datetime.combine(day, self.ends.replace(fold=1), zone_of(self.zone))  # the clock has gone back since
        return check_aware(again)

    def began_before(self, at: datetime) -> datetime:
        """When the quiet hours began that the instant `at` lies in."""
        day = local_date(at, self.zone)
        if self._wall(at) < self.begins:
            day -= timedelta(days=1)
        return at_local(day, self.begins, self.zone)

    def _wall(self, at: datetime) -> time:
        return check_aware(at).astimezone(zone_of(self.zone)).time().replace(fold=0)
