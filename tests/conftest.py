"""The cast that every test knows: a site, a coordinator, a clinician, a patient, and somebody from another site who
must never see them. Anything in a state is built by walking the real steps (`followup.demo.walk`)."""

from datetime import UTC, datetime, time

import pytest
import time_machine
from django.apps import apps
from django.conf import settings
from django.db.models.signals import post_migrate
from django.test import override_settings

from clinic.models import Site
from clinic.roles import CLINICIAN, COORDINATOR
from followup import demo, instruments
from followup.demo import walk
from scheduling import protocols

AT = datetime(2026, 5, 4, 14, 0, tzinfo=UTC)  # a Monday, 09:00 in Chicago


@pytest.fixture(scope="session", autouse=True)
def quick_settings(tmp_path_factory):
    """Pages are tested without collecting static files first, and passwords are not made slow to guess."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    folder = str(tmp_path_factory.mktemp("static"))
    hasher = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    storages = settings.STORAGES | {"staticfiles": plain}
    with override_settings(STORAGES=storages, STATIC_ROOT=folder, PASSWORD_HASHERS=hasher):
        yield


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings):
    """Criteria, protocols and questionnaires are loaded whenever the tables have been made or emptied, as a deployment
    does: most tests roll back to them, and a test with transactions of its own leaves them as it found them."""
    post_migrate.connect(_load_reference, sender=apps.get_app_config("followup"))


def _load_reference(**_signal):
    protocols.load_all(at=AT)
    instruments.load_all(at=AT)


@pytest.fixture
def at():
    return AT


@pytest.fixture
def clock_stopped(at):
    with time_machine.travel(at, tick=False):
        yield


@pytest.fixture
def bare_site(db):
    """A site without rooms, cells and protocols: enough for whatever comes before booking."""
    return Site.objects.create(
        code="demo",
        name="Lakeside Spine Clinic",
        time_zone="America/Chicago",
        phone="+1 312 555 0142",
        reply_to="demo@example.org",
    )


@pytest.fixture
def site(db, at):
    site = demo.found_clinic()
    demo.complete_products()
    demo.stock_cells(site, at=at)
    return site


@pytest.fixture
def no_night(site):
    """No quiet hours: what runs on the present time must not depend on when somebody runs it."""
    site.quiet_from = site.quiet_until = time(0)
    site.save(update_fields=["quiet_from", "quiet_until"])


@pytest.fixture
def other_site(site):
    return demo.found_clinic(code="other", name="Harbour Clinic", zone="Europe/Berlin")


@pytest.fixture
def coordinator(site):
    return demo.staff_member(site, "coordinator", COORDINATOR, password="a long test password")


@pytest.fixture
def clinician(site):
    return demo.staff_member(
        site, "clinician", CLINICIAN, password="a long test password", practitioner="Dr Amara Okafor"
    )


@pytest.fixture
def stranger(other_site):
    return demo.staff_member(other_site, "stranger", COORDINATOR, password="a long test password")


@pytest.fixture
def patient(site, at):
    return walk.register(site, at=at)
