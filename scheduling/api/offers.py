"""A time that was offered, on its way through a client and back: signed, so that nobody can write themselves a room,
and short-lived. It is still only advice: the step that takes it checks everything again."""

from datetime import timedelta
from typing import Any

from django.core import signing
from rest_framework import serializers

from clinic.status import StepRefused
from scheduling.api.shapes import TakenSerializer
from scheduling.models import Episode, Resource
from scheduling.models.protocol import ResourceKind
from scheduling.search import Search
from scheduling.slots import Option, Placed

OFFERED_FOR = timedelta(minutes=15)
SALT = "scheduling.offer"


class OfferExpired(StepRefused):
    code = "offer_expired"


def seal(option: Option, *, episode: Episode, visit: str) -> str:
    """`option` as text that only this service can have written, good for this visit of this episode only."""
    return signing.dumps([str(episode.pk), str(visit), option.packed()], salt=SALT, compress=True)


def offered(found: Search, *, episode: Episode, visit: str) -> dict[str, Any]:
    """What a search found in the shape of `Slots`, each time sealed so that it can be posted back, with the names of
    what it would take. Written out here: twenty times four steps through nested serializers take as long as the search.
    """
    units = {int(unit) for option in found.options for step in option.steps for unit in _resources(step)}
    resources = Resource.objects.exclude(kind=ResourceKind.PATIENT).filter(pk__in=units)
    named = {taken["id"]: taken for taken in resources.values(*TakenSerializer.Meta.fields)}
    options = [
        {
            "option": seal(option, episode=episode, visit=visit),
            "start": option.start,
            "end": option.end,
            "reason": reason,
            "steps": [
                {
                    "code": step.code,
                    "start": step.start,
                    "end": step.end,
                    "resources": [named[int(unit)] for unit in _resources(step) if int(unit) in named],
                }
                for step in option.steps
            ],
        }
        for option, reason in zip(found.options, found.reasons, strict=True)
    ]
    short = found.shortage
    return {
        "options": options,
        "shortage": short and short.sentence,
        "blocking": short.blocking if short else (),
        "first_start": short and short.first_start,
    }


def _resources(step: Placed) -> list[str]:
    return [unit for need in step.units for unit in need if unit.isdigit()]


def unseal(text: str, *, episode: Episode, visit: str) -> Option:
    try:
        about, for_visit, steps = signing.loads(text, salt=SALT, max_age=OFFERED_FOR)
    except signing.SignatureExpired as late:
        raise OfferExpired("These times were offered a while ago and may be gone. Search again.") from late
    except (signing.BadSignature, ValueError) as forged:
        raise serializers.ValidationError({"option": "This is not a time that was offered. Search again."}) from forged
    if (about, for_visit) != (str(episode.pk), str(visit)):
        raise serializers.ValidationError({"option": "This time was offered for another visit. Search again."})
    return Option.unpacked(steps)
