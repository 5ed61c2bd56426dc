"""Many treatments at once, each a copy of one that walked the real steps: for what only shows with many. A copy has its
own patient, referral, evaluation, verdict and episode, and nothing booked; its follow-up comes out of its anchor."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from scheduling.models import Episode
from scheduling.states import EpisodeStatus

BATCH = 2000


def gather(model: Episode, anchors: Sequence[datetime], *, injected: bool = True) -> list[Episode]:
    """A treatment like `model` for each of these moments of an injection, which has been given or is only planned."""
    verdict = model.verdict
    evaluation = verdict.evaluation
    referral = evaluation.referral
    made: list[Episode] = []
    status = EpisodeStatus.ACTIVE if injected else EpisodeStatus.PLANNED
    for begin in range(0, len(anchors), BATCH):
        some = anchors[begin : begin + BATCH]
        patients = [
            _copy(model.patient, mrn=f"MRN-{key}", family_name=f"Patient {begin + number}", email=f"{key}@example.org")
            for number, key in enumerate(uuid4() for _ in some)
        ]
        referrals = [_copy(referral, patient=patient) for patient in patients]
        evaluations = [_copy(evaluation, referral=row) for row in referrals]
        verdicts = [_copy(verdict, evaluation=row) for row in evaluations]
        episodes = [
            _copy(model, patient=patient, verdict=row, anchor_at=anchor_at, injected=injected, status=status)
            for patient, row, anchor_at in zip(patients, verdicts, some, strict=True)
        ]
        for rows in (patients, referrals, evaluations, verdicts, episodes):
            type(rows[0])._default_manager.bulk_create(rows)
        made += episodes
    return made


def _copy(row: Any, **changes: Any) -> Any:
    """A row like this one, not written yet, under an id of its own."""
    fields = row._meta.concrete_fields
    same = {field.name: getattr(row, field.name) for field in fields if not field.primary_key}
    return type(row)(pk=uuid4(), **same | changes)
