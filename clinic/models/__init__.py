"""Who and where: the sites, the people who work there, the patients, and what was said and changed."""

from clinic.models.answers import KeptAnswer
from clinic.models.delivery import DeliveryEvent, RelayEntry, RelayLog, SendCount
from clinic.models.heartbeats import Heartbeat
from clinic.models.links import ApiToken, Link
from clinic.models.messages import Channel, Message
from clinic.models.optouts import Category, OptOut
from clinic.models.patients import Patient
from clinic.models.returns import ReturnedMail
from clinic.models.rules import MessageRule
from clinic.models.sites import Practitioner, Site, StaffMember
from clinic.models.trail import StatusChange

__all__ = [
    "ApiToken",
    "Category",
    "Channel",
    "DeliveryEvent",
    "Heartbeat",
    "KeptAnswer",
    "Link",
    "Message",
    "MessageRule",
    "OptOut",
    "Patient",
    "Practitioner",
    "RelayEntry",
    "RelayLog",
    "ReturnedMail",
    "SendCount",
    "Site",
    "StaffMember",
    "StatusChange",
]
