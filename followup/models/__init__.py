"""What getting better leaves behind."""

from followup.models.adverse import AdverseEvent
from followup.models.alert import Alert
from followup.models.event import CallAttempt, FollowUpEvent, FollowUpStep, RestrictionStage
from followup.models.imaging import MriOrder
from followup.models.recovery import Discharge, RecoveryScore
from followup.models.survey import Answer, Instrument, Licence, Response

__all__ = [
    "AdverseEvent",
    "Alert",
    "Answer",
    "CallAttempt",
    "Discharge",
    "FollowUpEvent",
    "FollowUpStep",
    "Instrument",
    "Licence",
    "MriOrder",
    "RecoveryScore",
    "Response",
    "RestrictionStage",
]
