"""UTC inside, clinic time at the edges.

Every instant in the service is an aware datetime in UTC. A wall-clock time exists only where a person reads or writes
one, and only with the clinic's IANA zone. This module is the one place where the two meet. It imports no Django: how
a day is said in another language comes from the Unicode CLDR, by Babel.
"""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel import Locale
from babel.dates import format_date, format_skeleton

Zone = str | ZoneInfo

ENGLISH = "en"

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAY_FIRST = "EEEE d MMMM y"  # CLDR's plain English puts the month first, as in America only
COMMAS = {"ar": "،"}
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def check_aware(at: datetime) -> datetime:
    """`at` in UTC. A datetime without a zone is refused with ValueError: guessing one moves an appointment by hours."""
    if at.utcoffset() is None:
        raise ValueError(f"{at.isoformat()} has no time zone; pass an aware datetime.")
    return at.astimezone(UTC)


def zone_of(zone: Zone) -> ZoneInfo:
    """The zone by its IANA name ("America/Chicago"). An unknown name is a ValueError that says so."""
    if isinstance(zone, ZoneInfo):
        return zone
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as unknown:
        raise ValueError(f"{zone!r} is not an IANA time zone; use a name such as 'America/Chicago'.") from unknown


def local_date(at: datetime, zone: Zone) -> date:
    """The day on the clinic's wall calendar at the instant `at`."""
    return check_aware(at).astimezone(zone_of(zone)).date()


def at_local(day: date, at_time: time, zone: Zone) -> datetime:
    """The UTC instant when the clinic's clock shows `at_time` on `day`.

    A time that the spring change skips is read with the offset before the change, so it moves forward by the size of
    the gap (RFC 5545, section 3.3.5). A time that the autumn change repeats means its first occurrence.
    """
    if at_time.tzinfo is not None:
        raise ValueError(f"{at_time.isoformat()} carries its own time zone; pass a plain wall-clock time.")
    return datetime.combine(day, at_time.replace(fold=0), zone_of(zone)).astimezone(UTC)


def later_on_the_clock(at: datetime, days: int, zone: Zone) -> datetime:
    """The same wall-clock time `days` local days later (earlier if negative): 23, 24 or 25 hours a day.

    For "24 hours later" add a timedelta to the UTC instant instead.
    """
    local = check_aware(at).astimezone(zone_of(zone))
    return at_local(local.date() + timedelta(days=days), local.time(), zone)


def day_bounds(day: date, zone: Zone) -> tuple[datetime, datetime]:
    """First instant of the local `day` and of the day after, in UTC, half-open: 23 to 25 hours apart as a rule.

    Consecutive days touch and never overlap. A day that a zone skipped altogether (Samoa, 30 December 2011) is empty.
    """
    return at_local(day, time(0), zone), at_local(day + timedelta(days=1), time(0), zone)


def spoken(at: datetime, zone: Zone, language: str = ENGLISH) -> str:
    """Say an instant: "Tue 12 May 2026, 09:30 (Chicago)", 24-hour whatever the machine's locale; in another language
    than English the day is said in full, as `spoken_day` says it.

    Inside the hour that the autumn change repeats the UTC offset is added: the words alone would mean two instants.
    """
    local = check_aware(at).astimezone(zone_of(zone))
    if language == ENGLISH:
        return f"{short_day(local)}, {local:%H:%M} ({_place(local)})"
    day, comma = spoken_day(local.date(), language), COMMAS.get(language, ",")
    return f"{day}{comma} {local:%H:%M} ({_place(local, language)})"


def spoken_shortly(at: datetime, zone: Zone, language: str = ENGLISH) -> str:
    """Say an instant that is near in few letters, for a text message: "Tue 12 May, 09:30", "Di., 12. Mai, 09:30". The
    clinic's name beside it says whose clock that is."""
    local, comma = check_aware(at).astimezone(zone_of(zone)), COMMAS.get(language, ",")
    day = local.date()
    if language == ENGLISH:
        return f"{WEEKDAYS[day.weekday()]} {day.day} {MONTHS[day.month - 1]}, {local:%H:%M}"
    return f"{format_skeleton('MMMEd', day, locale=language)}{comma} {local:%H:%M}"


def short_day(day: date) -> str:
    """Say a day to staff: "Tue 12 May 2026", whatever the machine's locale."""
    return f"{WEEKDAYS[day.weekday()]} {day.day} {MONTHS[day.month - 1]} {day.year}"


def spoken_day(day: date, language: str = ENGLISH) -> str:
    """Say a day in full: "Tuesday 12 May 2026", "Dienstag, 12. Mai 2026"."""
    return format_date(day, DAY_FIRST if language == ENGLISH else "full", locale=language)


def spoken_range(start: datetime, end: datetime, zone: Zone) -> str:
    """Say a range: "Tue 12 May 2026, 09:30-10:15 (Chicago)"; both days are named when the range crosses midnight.

    ValueError if `end` is before `start`.
    """
    first, last = (check_aware(at).astimezone(zone_of(zone)) for at in (start, end))
    if check_aware(end) < check_aware(start):
        raise ValueError(f"The range ends ({spoken(end, zone)}) before it starts ({spoken(start, zone)}).")
    if first.date() != last.date():
        return f"{spoken(start, zone)} - {spoken(end, zone)}"
    if _place(first) != _place(last):
        return f"{short_day(first)}, {first:%H:%M} ({_place(first)}) - {last:%H:%M} ({_place(last)})"
    return f"{short_day(first)}, {first:%H:%M}-{last:%H:%M} ({_place(first)})"


def _place(local: datetime, language: str = ENGLISH) -> str:
    """The zone's city, with the UTC offset added when this wall-clock time happens twice."""
    city = str(local.tzinfo).rpartition("/")[2].replace("_", " ")
    if language != ENGLISH:
        city = Locale.parse(language).time_zones.get(str(local.tzinfo), {}).get("city", city)
    first, second = (local.replace(fold=fold).utcoffset() for fold in (0, 1))
    repeated = first is not None and second is not None and first > second
    return f"{city}{COMMAS.get(language, ',')} UTC{local.isoformat()[-6:]}" if repeated else city
