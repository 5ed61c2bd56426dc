"""A found time on its way through a web page: sealed, so that what comes back is what was offered."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from django.core import signing

from clinic import clock
from clinic.status import StepRefused
from scheduling.models import Appointment, Resource
from scheduling.models.protocol import StepCode
from scheduling.slots import Option

SALT = "scheduling.option"


def seal(option: Option) -> str:
    return signing.dumps(option.packed(), salt=SALT, compress=True)


def unseal(sealed: str) -> Option:
    """The option that was offered; StepRefused for anything else."""
    try:
        return Option.unpacked(signing.loads(sealed, salt=SALT, max_age=24 * 60 * 60))
    except signing.BadSignature as forged:
        raise StepRefused("That time was not offered here, or too long ago. Please search again.") from forged


@dataclass(frozen=True)
class Offer:
    """An option as the desk shows it."""

    sealed: str
    words: str
    steps: list[tuple[str, str, str]]
    why: str = ""
    brings: tuple[str, ...] = ()  # what moving there brings with it


# A higher app says what else a move changes without this one knowing it: a sentence for a person, or "".
_CONSEQUENCES: list[Callable[[Appointment, Option], str]] = []


def add_consequence(told: Callable[[Appointment, Option], str]) -> None:
    _CONSEQUENCES.append(told)


def offers(
    options: Iterable[Option], zone: Any, *, reasons: Sequence[str] = (), moving: Appointment | None = None
) -> list[Offer]:
    """The options in the clinic's time, with the names of the rooms and people they would take, why each stands where
    it does, and what it would bring with it if `moving` went there."""
    found = list(options)
    ids = {
        unit for option in found for step in option.steps for units in step.units for unit in units if unit.isdigit()
    }
    names = {str(row.pk): row.name for row in Resource.objects.filter(pk__in=ids, patient__isnull=True)}
    return [
        Offer(
            sealed=seal(option),
            words=clock.spoken_range(option.start, option.end, zone),
            steps=[
                (
                    StepCode(step.code).label,
                    f"{step.start.astimezone(zone):%H:%M}-{step.end.astimezone(zone):%H:%M}",
                    ", ".join(dict.fromkeys(names[unit] for units in step.units for unit in units if unit in names)),
                )
                for step in option.steps
            ],
            why=why,
            brings=tuple(words for told in _CONSEQUENCES if moving and (words := told(moving, option))),
        )
        for option, why in zip_longest(found, reasons, fillvalue="")
    ]
