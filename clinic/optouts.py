"""What a patient wants to hear from us, and by which way: chosen behind the secret link that is in every mail, by one
click in the mail program, or told to the desk. Leaves OptOut rows, which are asked at the moment of sending."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Lower
from django.urls import reverse

from clinic import links
from clinic.models import Category, Channel, OptOut, Patient, ReturnedMail
from clinic.models.links import Purpose
from clinic.models.returns import ReturnKind
from clinic.status import StepRefused, note
from clinic.text import dialled

EVERYTHING = ""
BY_PATIENT = "patient"  # who the trail says it was
WAYS = (Channel.EMAIL, Channel.SMS)  # of calls a patient says no to who calls
LINK_FOR = timedelta(days=400)  # RFC 8058 names no end; a year of mails can be stopped from any of them

WAY_WORDS: dict[str, str] = {Channel.EMAIL: "e-mail", Channel.SMS: "text messages", Channel.PHONE: "calls"}
CATEGORY_WORDS: dict[str, str] = {
    Category.APPOINTMENTS: " about appointments",
    Category.SURVEYS: " with questions",
    Category.RECOVERY: " with advice",
    Category.WAITLIST: " with offers of a sooner time",
    EVERYTHING: "",
}
WHY_RETURNED: dict[str, str] = {
    ReturnKind.BOUNCED: "Mail to this address came back.",
    ReturnKind.COMPLAINED: "The patient's mail service reported our mail as unwanted.",
}


# Asked for each mail that leaves, so in plain SQL: by the ORM it takes longer to build the question than to answer it.
OBJECTIONS = """
SELECT patient_id, channel, category, '', since AS at FROM clinic_optout WHERE patient_id = ANY(%(patients)s)
 UNION ALL
SELECT patient_id, '', kind, address, returned_at FROM clinic_returnedmail
 WHERE patient_id = ANY(%(patients)s) AND settled_at IS NULL AND permanent
 ORDER BY at
"""


@dataclass(frozen=True)
class Objections:
    """What stands against writing to one patient: what they asked not to get, and where mail came back from."""

    stopped: set[tuple[str, str]] = field(default_factory=set)  # channel and category
    came_back: list[tuple[str, str]] = field(default_factory=list)  # address and kind, the first to come back first


def objections(patients: Iterable[Patient]) -> dict[Any, Objections]:
    """By the patient's id."""
    found = {patient.pk: Objections() for patient in patients}
    with connection.cursor() as cursor:
        cursor.execute(OBJECTIONS, {"patients": list(found)})
        for pk, channel, what, address, _ in cursor.fetchall():
            if address:
                found[pk].came_back.append((address, what))
            else:
                found[pk].stopped.add((channel, what))
    return found


def reason_not_to(patient: Patient, channel: str, category: str, against: Objections | None = None) -> str:
    """ "" if a message of this category may go to `patient` by this way, or why not. Asked at the moment of sending;
    who asks of many has got what stands `against` each of them (`objections`)."""
    against = against or objections([patient])[patient.pk]
    for unwanted in (EVERYTHING, category):
        if (channel, unwanted) in against.stopped:
            return f"The patient asked not to get {WAY_WORDS[channel]}{CATEGORY_WORDS[unwanted]}."
    if channel == Channel.EMAIL:
        return _no_way_by_email(patient, against)
    if channel == Channel.SMS and not dialled(patient.phone):
        return "There is no phone number with its country for the patient."
    return ""


def _no_way_by_email(patient: Patient, against: Objections) -> str:
    if not patient.email:
        return "There is no e-mail address for the patient."
    for address, kind in against.came_back:
        if address.lower() == patient.email.lower():
            return WHY_RETURNED[kind]
    return ""


def no_email(path: str, category: str) -> Q:
    """The same for a queryset: whom no e-mail of this category reaches. `path` leads to the patient."""
    stopped = OptOut.objects.filter(patient=OuterRef(path), channel=Channel.EMAIL, category__in=[EVERYTHING, category])
    came_back = standing_returns().filter(patient=OuterRef(path), permanent=True)
    return Q(**{f"{path}__email": ""}) | Q(Exists(stopped)) | Q(Exists(came_back))


def standing_returns() -> QuerySet[ReturnedMail]:
    """What came back from the address the patient still has, and nobody has settled."""
    rows = ReturnedMail.objects.annotate(was=Lower("address"), now=Lower("patient__email"))
    return rows.filter(settled_at__isnull=True, was=F("now"))


@transaction.atomic
def stop(
    patient: Patient, *, channel: str = Channel.EMAIL, category: str = EVERYTHING, by: str, at: datetime
) -> Patient:
    """Honour "no more of this" at once; asking twice keeps the first time."""
    _check(channel, category)
    _, new = OptOut.objects.get_or_create(patient=patient, channel=channel, category=category, defaults={"since": at})
    if new:
        words = f"{WAY_WORDS[channel]}{CATEGORY_WORDS[category]}"
        note(patient, was=WAY_WORDS[channel], became=f"no {WAY_WORDS[channel]}", by=by, at=at, reason=f"No {words}")
    return patient


@transaction.atomic
def allow(patient: Patient, *, channel: str = Channel.EMAIL, by: str, at: datetime) -> Patient:
    """The patient wants everything by this way again."""
    _check(channel, EVERYTHING)
    ended, _ = OptOut.objects.filter(patient=patient, channel=channel).delete()
    if ended:
        note(patient, was=f"no {WAY_WORDS[channel]}", became=WAY_WORDS[channel], by=by, at=at)
    return patient


@transaction.atomic
def choose(patient: Patient, *, channel: str, wanted: Collection[str], by: str, at: datetime) -> Patient:
    """From now on just these categories by this way."""
    for category in wanted:
        _check(channel, category)
    Patient.objects.select_for_update(of=("self",), no_key=True).get(pk=patient.pk)  # two tabs at once: one after one
    if wanted_of(patient, channel=channel) == set(wanted):
        return patient
    if set(wanted) == set(Category.values):
        return allow(patient, channel=channel, by=by, at=at)
    unwanted = [EVERYTHING] if not wanted else [category for category in Category.values if category not in wanted]
    OptOut.objects.filter(patient=patient, channel=channel).exclude(category__in=unwanted).delete()
    for category in unwanted:
        stop(patient, channel=channel, category=category, by=by, at=at)
    return patient


def wanted_of(patient: Patient, *, channel: str) -> set[str]:
    """The categories that may go to `patient` by this way."""
    unwanted = set(OptOut.objects.filter(patient=patient, channel=channel).values_list("category", flat=True))
    return set() if EVERYTHING in unwanted else set(Category.values) - unwanted


def token_for(patient: Patient, *, at: datetime) -> str:
    """The secret of the page on which `patient` says what they want to hear. Every mail carries it, so one that was
    revoked is replaced by a new one: the next mail must be stoppable too."""
    this_month = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)  # so that it is written once a month
    link = links.link_until(patient, purpose=Purpose.STOP, site=patient.site, until=this_month + LINK_FOR)
    return links.token_of(links.rotate(link) if link.revoked_at else link)


def address(token: str) -> str:
    return settings.BASE_URL + reverse("preferences", args=[token])


def headers(token: str, category: str) -> dict[str, str]:
    """For the mail program's own "unsubscribe" button (RFC 2369). One click is promised only where the address is safe
    on the way (RFC 8058, section 3.1)."""
    stop_address = settings.BASE_URL + reverse("one-click", args=[token, category])
    promised = {"List-Unsubscribe": f"<{stop_address}>"}
    if stop_address.startswith("https://"):
        promised["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    return promised


def _check(channel: str, category: str) -> None:
    if channel not in Channel.values or category not in {EVERYTHING, *Category.values}:
        raise StepRefused("Choose one of the ways and one of the topics that are offered.")
