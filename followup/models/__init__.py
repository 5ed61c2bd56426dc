"""What getting better leaves behind."""

from followup.models.alert import Alert
from followup.models.event import CallAttempt, FollowUpEvent, FollowUpStep, RestrictionStage
from followup.models.recovery import Discharge, RecoveryScore
from followup.models.survey import Answer, Instrument, Licence, Response

__all__ = [
    "Alert",
    "Answer",
    "CallAttempt",
    "Discharge",
    "FollowUpEvent",
    "FollowUpStep",
    "Instrument",
    "Licence",
    "RecoveryScore",
    "Response",
    "RestrictionStage",
]
