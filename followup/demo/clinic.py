"""A clinic out of nothing: rooms, devices, people, hours and cells, for the demo, the rehearsal and the tests."""

from datetime import datetime, time, timedelta

from django.contrib.auth.models import Group, User
from django.db import transaction

from clinic.models import Practitioner, Site, StaffMember
from clinic.roles import CLINICIAN, COORDINATOR
from scheduling.models import Lot, OpeningHours, Product, ReceiptCheck, Resource, Unit
from scheduling.models.product import CellSource, RegulatoryBasis, Shipper
from scheduling.models.protocol import ResourceKind as K
from scheduling.states import LotStatus

ROOMS_AND_DEVICES = (
    (K.PROCEDURE_ROOM, "Procedure room", 2),
    (K.FLUOROSCOPY_SUITE, "Fluoroscopy suite", 2),
    (K.C_ARM, "C-arm", 2),
    (K.BENCH, "Processing bench", 2),
    (K.CABINET, "Biosafety cabinet", 1),
    (K.RECOVERY_BAY, "Recovery bay", 4),
    (K.MRI_SCANNER, "MRI scanner", 1),
)
PEOPLE = (
    (K.INTERVENTIONALIST, "Dr", ("Amara Okafor", "Jonas Lindqvist"), ("inject", "harvest")),
    (K.RADIOGRAPHER, "", ("Mei Tanaka", "Rafael Souza"), ("fluoroscopy", "mri")),
    (K.NURSE, "", ("Ines Moreau", "Peter Novak", "Grace Mensah", "Leila Haddad"), ()),
    (K.CELL_OPERATOR, "", ("Tomas Varga", "Sofia Rossi"), ()),
)

DEMO_LOGINS = (("coordinator", COORDINATOR, ""), ("clinician", CLINICIAN, "Dr Amara Okafor"))


@transaction.atomic
def found_clinic(*, code: str = "demo", name: str = "Lakeside Spine Clinic", zone: str = "America/Chicago") -> Site:
    """The site with everything that can be booked there; found again if it exists. Weekdays, 08:00 to 17:00."""
    site, made = Site.objects.get_or_create(
        code=code,
        defaults={
            "name": name,
            "time_zone": zone,
            "phone": "+1 312 555 0142",
            "reply_to": f"{code}@example.org",
            "address": "200 Lakeside Avenue, Chicago",
        },
    )
    if not made:
        return site
    for kind, label, count in ROOMS_AND_DEVICES:
        for number in range(1, count + 1):
            Resource.objects.create(site=site, kind=kind, name=f"{label} {number}" if count > 1 else label)
    for kind, title, names, capabilities in PEOPLE:
        for person in names:
            practitioner = Practitioner.objects.create(site=site, name=f"{title} {person}".strip())
            Resource.objects.create(
                site=site,
                kind=kind,
                name=practitioner.name,
                capabilities=list(capabilities),
                practitioner=practitioner,
            )
    OpeningHours.objects.bulk_create(
        OpeningHours(site=site, weekday=day, opens=time(8), closes=time(17)) for day in range(5)
    )
    return site


@transaction.atomic
def complete_products() -> None:
    """Fill in what a clinic must enter from its own papers before it can book. Made up, and it says so."""
    Product.objects.filter(source=CellSource.ALLOGENEIC, post_thaw_limit_minutes__isnull=True).update(
        thaw_minutes=30,
        post_thaw_limit_minutes=120,
        transport_celsius_max=-130,
        regulatory_reference="DEMO VALUES: not from any product",
    )
    Product.objects.filter(regulatory_basis=RegulatoryBasis.NONE).update(
        regulatory_basis=RegulatoryBasis.IND, regulatory_reference="DEMO VALUES: no such IND exists"
    )


@transaction.atomic
def stock_cells(site: Site, *, at: datetime, units: int = 30, shelf_life: timedelta = timedelta(days=365)) -> int:
    """One checked and released lot of `units` vials of every allogeneic product that has a post-thaw limit."""
    made = 0
    for product in Product.objects.filter(source=CellSource.ALLOGENEIC, post_thaw_limit_minutes__isnull=False):
        number = f"{product.code.upper()}-{at:%y%m}-{Lot.objects.filter(site=site, product=product).count() + 1}"
        lot = Lot.objects.create(
            site=site, product=product, number=number, expires_at=at + shelf_life, status=LotStatus.RELEASED
        )
        ReceiptCheck.objects.create(
            lot=lot,
            checked_at=at,
            checked_by="Tomas Varga",
            celsius=-150,
            shipper=Shipper.INTACT,
            units_announced=units,
            units_counted=units,
        )
        vials = [Unit(lot=lot, identifier=f"{site.code}-{number}-{n:04}", received_at=at) for n in range(1, units + 1)]
        made += len(Unit.objects.bulk_create(vials))
    return made


@transaction.atomic
def staff_member(site: Site, username: str, role: str, *, password: str | None = None, practitioner: str = "") -> User:
    """A login that may work at `site` in one role; `practitioner` is the name of the person it belongs to."""
    users = User.objects
    user, made = users.get_or_create(username=username, defaults={"is_staff": True})
    if made:
        user.set_password(password)
        user.save()
        user.groups.add(Group.objects.get(name=role))
    member, _ = StaffMember.objects.get_or_create(user=user)
    member.sites.add(site)
    if practitioner:
        Practitioner.objects.filter(site=site, name=practitioner).update(user=user)
    return user


def demo_logins(site: Site, *, password: str) -> tuple[str, ...]:
    """The demo's logins, both with `password`, also if they were made before with another. Returns their names."""
    for username, role, practitioner in DEMO_LOGINS:
        user = staff_member(site, username, role, practitioner=practitioner)
        user.set_password(password)
        user.save(update_fields=["password"])
    return tuple(username for username, _, _ in DEMO_LOGINS)
