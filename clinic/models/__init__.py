"""Who and where: the sites, the people who work there, the patients, and what was said and changed."""

from clinic.models.answers import KeptAnswer
from clinic.models.heartbeats import Heartbeat
from clinic.models.links import ApiToken, Link
from clinic.models.messages import Channel, Message
from clinic.models.patients import Patient
from clinic.models.rules import MessageRule
from clinic.models.sites import Practitioner, Site, StaffMember
from clinic.models.trail import StatusChange

__all__ = [
    "ApiToken",
    "Channel",
    "Heartbeat",
    "KeptAnswer",
    "Link",
    "Message",
    "MessageRule",
    "Patient",
    "Practitioner",
    "Site",
    "StaffMember",
    "StatusChange",
]
