import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission

from clinic import roles
from clinic.models import Patient
from clinic.roles import CLINICIAN, COORDINATOR, DESK, PERMISSIONS
from followup.demo import walk

# For superusers only: keys to the machine's doors, who works where, the answers kept for repeated requests, what the
# mail relay's log says, how many left when, and when each sweep last went through.
NOBODYS = {
    "clinic.apitoken",
    "clinic.staffmember",
    "clinic.keptanswer",
    "clinic.heartbeat",
    "clinic.relayentry",
    "clinic.relaylog",
    "clinic.sendcount",
}


def may(user):
    return {name for name in user.get_all_permissions() if name.partition(".")[0] in DESK}


def test_a_coordinator_and_a_clinician_may_do_exactly_what_the_table_says(coordinator, clinician):
    assert may(coordinator) == PERMISSIONS[COORDINATOR]
    assert may(clinician) == PERMISSIONS[CLINICIAN]


def test_what_a_clinician_answers_for_is_closed_to_a_coordinator(coordinator, clinician):
    medical = ["scheduling.sign_verdict", "scheduling.record_injection", "followup.waive_event"]

    assert [coordinator.has_perm(name) for name in medical] == [False, False, False]
    assert [clinician.has_perm(name) for name in medical] == [True, True, True]


def test_nobody_deletes(coordinator, clinician):
    assert {name for name in may(coordinator) | may(clinician) if ".delete_" in name} == set()


def test_somebody_has_decided_about_every_model(db):
    models = {model._meta.label_lower for app in DESK for model in apps.get_app_config(app).get_models()}

    decided = {f"{app}.{model}" for app, table in DESK.items() for model in table}
    assert models - decided == NOBODYS
    assert decided - models == set()


def test_every_permission_in_the_table_exists(db):
    existing = {
        f"{permission.content_type.app_label}.{permission.codename}"
        for permission in Permission.objects.select_related("content_type")
    }

    assert PERMISSIONS[CLINICIAN] - existing == set()


def test_a_migration_puts_the_groups_back_as_the_table_says(db):
    coordinators = Group.objects.get(name=COORDINATOR)
    coordinators.permissions.add(Permission.objects.get(codename="sign_verdict"))
    Group.objects.get(name=CLINICIAN).delete()

    roles.make_groups()

    names = {f"{one.content_type.app_label}.{one.codename}" for one in coordinators.permissions.all()}
    assert names == PERMISSIONS[COORDINATOR]
    assert Group.objects.get(name=CLINICIAN).permissions.count() == len(PERMISSIONS[CLINICIAN])


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_groups_survive_a_flush_of_the_tables():
    assert sorted(Group.objects.values_list("name", flat=True)) == [CLINICIAN, COORDINATOR]


def test_staff_see_the_patients_of_their_own_site(patient, coordinator, stranger, other_site, at):
    theirs = walk.register(other_site, at=at, mrn="MRN-2")

    assert list(Patient.objects.visible_to(coordinator)) == [patient]
    assert list(Patient.objects.visible_to(stranger)) == [theirs]


def test_a_superuser_sees_every_site_and_a_login_without_a_site_none(patient, other_site, at, django_user_model):
    walk.register(other_site, at=at, mrn="MRN-2")
    root = django_user_model.objects.create_superuser("root", password="a long test password")
    nobody = django_user_model.objects.create_user("nobody", password="a long test password")

    assert Patient.objects.visible_to(root).count() == 2
    assert Patient.objects.visible_to(nobody).count() == 0
