"""What getting to the day leaves behind."""

from scheduling.models.appointment import Appointment, AppointmentStep, Episode, Reservation
from scheduling.models.evaluation import CriteriaSet, Evaluation, PriorTreatment, Verdict
from scheduling.models.injection import InjectedLevel, Injection
from scheduling.models.mri import DiscReading, MriStudy
from scheduling.models.product import Harvest, Lot, Product, ReceiptCheck, Unit
from scheduling.models.protocol import Protocol, ProtocolStep, StepNeed
from scheduling.models.referral import Referral
from scheduling.models.request import MoveRequest
from scheduling.models.resource import Closure, Holiday, OpeningHours, Resource
from scheduling.models.waitlist import FreedTime, WaitlistEntry, WaitlistOffer

__all__ = [
    "Appointment",
    "AppointmentStep",
    "Closure",
    "CriteriaSet",
    "DiscReading",
    "Episode",
    "Evaluation",
    "FreedTime",
    "Harvest",
    "Holiday",
    "InjectedLevel",
    "Injection",
    "Lot",
    "MoveRequest",
    "MriStudy",
    "OpeningHours",
    "PriorTreatment",
    "Product",
    "Protocol",
    "ProtocolStep",
    "ReceiptCheck",
    "Referral",
    "Reservation",
    "Resource",
    "StepNeed",
    "Unit",
    "Verdict",
    "WaitlistEntry",
    "WaitlistOffer",
]
