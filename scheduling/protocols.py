"""Reference data into rows: criteria, products and protocols, each in a file of its own under `reference/`.

What is in the database stays as it is: a clinic completes a product there, and a protocol or a criteria set that has
changed is a new version.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import transaction

from clinic.status import StepRefused
from scheduling import chains
from scheduling.models import CriteriaSet, Product, Protocol, ProtocolStep, StepNeed

REFERENCE = Path(__file__).parent / "reference"


@dataclass(frozen=True, slots=True)
class Loaded:
    """How many rows were new."""

    criteria: int
    products: int
    protocols: int


@transaction.atomic
def load_all(*, at: datetime) -> Loaded:
    criteria = sum(_load_criteria(given, at=at) for given in _files("criteria"))
    products = sum(_load_product(given) for given in _read(REFERENCE / "products.json"))
    return Loaded(criteria, products, sum(_load_protocol(given) for given in _files("protocols")))


def _files(folder: str) -> Iterator[Any]:
    for path in sorted((REFERENCE / folder).glob("*.json")):
        yield _read(path)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _load_criteria(given: dict[str, Any], *, at: datetime) -> bool:
    kept = {name: given[name] for name in ("title", "rules", "valid_days")}
    return CriteriaSet.objects.get_or_create(version=given["version"], defaults=kept | {"loaded_at": at})[1]


def _load_product(given: dict[str, Any]) -> bool:
    return Product.objects.get_or_create(code=given["code"], defaults=given)[1]


def _load_protocol(given: dict[str, Any]) -> bool:
    least, most = given.get("expansion_days", (None, None))
    protocol, made = Protocol.objects.get_or_create(
        code=given["code"],
        version=given["version"],
        defaults={
            "name": given["name"],
            "product": Product.objects.get(code=given["product"]),
            "criteria": _criteria(given),
            "basis": given["basis"],
            "max_levels": given["max_levels"],
            "units_per_level": given.get("units_per_level", 0),
            "dose_million": given.get("dose_million"),
            "expansion_days_min": least,
            "expansion_days_max": most,
        },
    )
    if made:
        for visit, steps in given["visits"].items():
            _add_steps(protocol, visit, steps)
            chains.check(protocol, visit=visit)
    return made


def _criteria(given: dict[str, Any]) -> CriteriaSet:
    if criteria := CriteriaSet.objects.filter(version=given["criteria"]).first():
        return criteria
    raise StepRefused(f"Protocol {given['name']} asks for criteria {given['criteria']}, which are not loaded.")


def _add_steps(protocol: Protocol, visit: str, given: list[dict[str, Any]]) -> None:
    steps = ProtocolStep.objects.bulk_create(
        _step(protocol, visit, order, form) for order, form in enumerate(given, start=1)
    )
    StepNeed.objects.bulk_create(
        StepNeed(step=step, **need) for step, form in zip(steps, given, strict=True) for need in form["needs"]
    )


def _step(protocol: Protocol, visit: str, order: int, given: dict[str, Any]) -> ProtocolStep:
    least, most = given.get("gap", (0, 0))
    return ProtocolStep(
        protocol=protocol,
        visit=visit,
        order=order,
        code=given["code"],
        minutes=given["minutes"],
        minutes_per_extra_level=given.get("minutes_per_extra_level", 0),
        gap_min=least,
        gap_max=most,
    )
