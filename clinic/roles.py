"""Who may do what. The groups are made, and kept as this table says, after every migration; which sites a person sees
comes from their StaffMember row (`Model.objects.visible_to(user)`)."""

from typing import Any

from django.apps import apps as installed
from django.apps.registry import Apps

COORDINATOR = "Coordinator"
CLINICIAN = "Clinician"

KEEP = ("view", "add", "change")  # nobody deletes: what was wrong is corrected, cancelled or withdrawn, with a trail
READ = ("view",)

# What a coordinator may do with each model. A model that is not here is for superusers only.
DESK: dict[str, dict[str, tuple[str, ...]]] = {
    "clinic": {
        "patient": KEEP,
        "practitioner": KEEP,
        "link": ("view", "change"),
        "message": ("view", "change"),  # settled by hand, where nobody can know from here
        "optout": READ,  # chosen on the patient's page
        "returnedmail": ("view", "change"),
        "deliveryevent": READ,
        "messagerule": READ,  # administrators change what is sent when
        "site": READ,
        "statuschange": READ,
    },
    "scheduling": {
        "referral": KEEP,
        "mristudy": KEEP,
        "discreading": KEEP,
        "evaluation": KEEP,
        "priortreatment": KEEP,
        "verdict": KEEP,
        "criteriaset": READ,
        "episode": KEEP,
        "appointment": KEEP,
        "appointmentstep": KEEP,
        "reservation": KEEP,
        "resource": KEEP,
        "openinghours": KEEP,
        "holiday": KEEP,
        "closure": KEEP,
        "moverequest": ("view", "change"),  # asked by patients, settled by who moves the visit
        "waitlistentry": KEEP,
        "waitlistoffer": ("view", "change"),  # answered for a patient who was phoned
        "freedtime": READ,
        "product": KEEP,
        "protocol": KEEP,
        "protocolstep": KEEP,
        "stepneed": KEEP,
        "lot": KEEP,
        "receiptcheck": KEEP,
        "unit": (*KEEP, "choose"),
        "harvest": KEEP,
        "injection": READ,
        "injectedlevel": READ,
    },
    "followup": {
        "followupstep": KEEP,
        "restrictionstage": KEEP,
        "followupevent": KEEP,
        "callattempt": KEEP,
        "instrument": ("view", "change"),
        "licence": READ,
        "response": KEEP,
        "answer": READ,
        "recoveryscore": KEEP,
        "discharge": KEEP,
        "alert": KEEP,
        "adverseevent": KEEP,
        "mriorder": KEEP,
    },
}

# What only a clinician answers for. The first three are permissions of their own, declared by the models.
MEDICAL = frozenset(
    {
        "scheduling.sign_verdict",
        "scheduling.record_injection",
        "followup.waive_event",
        *(f"scheduling.{verb}_{model}" for verb in ("add", "change") for model in ("injection", "injectedlevel")),
    }
)

AT_THE_DESK = frozenset(
    f"{app}.{verb}_{model}" for app, table in DESK.items() for model, verbs in table.items() for verb in verbs
)
PERMISSIONS = {COORDINATOR: AT_THE_DESK, CLINICIAN: AT_THE_DESK | MEDICAL}


def make_groups(apps: Apps = installed, **_signal: Any) -> None:
    """Give each group exactly the permissions of its role: the receiver of `post_migrate`.

    A data migration would run before the permissions exist (they are themselves made after migrating), and would not
    come back when a test empties the tables; this signal does both.
    """
    try:
        group, permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    except LookupError:  # a migration back to before the login tables
        return
    ours = list(permission.objects.filter(content_type__app_label__in=DESK).select_related("content_type"))
    for role, names in PERMISSIONS.items():
        given = [one for one in ours if f"{one.content_type.app_label}.{one.codename}" in names]
        group.objects.get_or_create(name=role)[0].permissions.set(given)
