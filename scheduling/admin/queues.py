"""What waits on the way to the day, on the first page."""

from datetime import datetime

from django.db.models import Exists, OuterRef

from clinic import clock
from clinic.admin import show
from clinic.desk import Line, Queue, register
from scheduling import cells
from scheduling.admin import appointments
from scheduling.models import Appointment, Evaluation, MriStudy, Referral, Verdict
from scheduling.models.protocol import Visit
from scheduling.states import ReferralStatus, VerdictStatus


def referrals_to_answer(user, at: datetime):
    rows = Referral.objects.visible_to(user).filter(status=ReferralStatus.RECEIVED)
    return rows.select_related("patient__site").order_by("received_on", "pk")


def to_evaluate(user, at: datetime):
    evaluated = Evaluation.objects.filter(referral=OuterRef("pk"))
    rows = Referral.objects.visible_to(user).filter(~Exists(evaluated), status=ReferralStatus.ACCEPTED)
    return rows.filter(patient__deceased=False).select_related("patient__site").order_by("received_on", "pk")


def to_judge(user, at: datetime):
    judged = Verdict.objects.filter(evaluation=OuterRef("pk"))
    rows = Evaluation.objects.visible_to(user).filter(~Exists(judged), referral__patient__deceased=False)
    return rows.select_related("referral__patient__site").order_by("evaluated_on", "pk")


def to_sign(user, at: datetime):
    rows = Verdict.objects.visible_to(user).filter(status=VerdictStatus.DRAFT)
    rows = rows.filter(evaluation__referral__patient__deceased=False)
    return rows.select_related("evaluation__referral__patient__site", "protocol").order_by(
        "evaluation__evaluated_on", "pk"
    )


def unassigned(user, at: datetime):
    return MriStudy.objects.visible_to(user).filter(patient__isnull=True).order_by("acquired_on", "pk")


def when(appointment) -> str:
    return clock.spoken_range(appointment.during.lower, appointment.during.upper, appointment.site.zone)


register(
    Queue(
        title="Referrals to answer",
        rows=referrals_to_answer,
        line=lambda referral, at: Line(
            str(referral.patient),
            f"from {referral.source}, received {show.day(referral.received_on)}",
            show.page_of(referral),
            "Accept or decline",
        ),
        everything=lambda: show.list_of(Referral, status__exact=ReferralStatus.RECEIVED),
        empty="None. A new referral appears here until somebody accepts or declines it.",
        permission="scheduling.view_referral",
        place=20,
    ),
    Queue(
        title="Patients to evaluate",
        rows=to_evaluate,
        line=lambda referral, at: Line(
            str(referral.patient), f"accepted; from {referral.source}", show.page_of(referral), "Record the evaluation"
        ),
        everything=lambda: show.list_of(Referral, status__exact=ReferralStatus.ACCEPTED),
        empty="None. Accepted referrals appear here until the patient was evaluated.",
        permission="scheduling.view_referral",
        place=30,
    ),
    Queue(
        title="Evaluations to judge",
        rows=to_judge,
        line=lambda evaluation, at: Line(
            str(evaluation.referral.patient),
            f"evaluated {show.day(evaluation.evaluated_on)}",
            show.page_of(evaluation),
            "Let the criteria judge",
        ),
        everything=lambda: show.list_of(Evaluation),
        empty="None. An evaluation appears here until the criteria were held against it.",
        permission="scheduling.view_evaluation",
        place=40,
    ),
    Queue(
        title="Verdicts to sign",
        rows=to_sign,
        line=lambda verdict, at: Line(
            str(verdict.evaluation.referral.patient),
            f"{verdict.protocol.name}: {verdict.get_computed_display().lower()}",
            show.page_of(verdict),
            "Read and sign",
        ),
        everything=lambda: show.list_of(Verdict, status__exact=VerdictStatus.DRAFT),
        empty="None. A verdict appears here until a clinician signs it.",
        permission="scheduling.view_verdict",
        place=50,
    ),
    Queue(
        title="Held times about to lapse",
        rows=appointments.held,
        line=lambda held, at: Line(
            str(held.episode.patient),
            f"{held.get_visit_display()}, {when(held)}; held for {max(0, (held.held_until - at).seconds // 60)} more "
            f"minutes",
            show.step_page(held, "book"),
            "Book it",
        ),
        everything=lambda: show.list_of(Appointment, status__exact="held"),
        empty="None. A time held for a patient who is deciding appears here until it is booked or lapses.",
        permission="scheduling.view_appointment",
        place=65,
    ),
    Queue(
        title="Unconfirmed in the next 7 days",
        rows=appointments.unconfirmed,
        line=lambda booked, at: Line(
            str(booked.episode.patient),
            f"{booked.get_visit_display()}, {when(booked)}; phone {booked.episode.patient.phone or 'not known'}",
            show.step_page(booked, "confirm"),
            "Confirm",
        ),
        everything=lambda: show.list_of(Appointment, status__exact="booked", when="week"),
        empty="None. Who is booked for the next 7 days and has not confirmed appears here: call them.",
        permission="scheduling.view_appointment",
        place=70,
    ),
    Queue(
        title="Procedures without their cells",
        rows=lambda user, at: cells.lacking_units().visible_to(user).select_related("episode__patient", "site"),
        line=lambda day, at: Line(
            str(day.episode.patient),
            f"{when(day)}: {day.units_in_hand} of {day.units_needed} units",
            show.page_of(day),
            "Allocate or move",
        ),
        everything=lambda: show.list_of(Appointment, visit__exact=Visit.PROCEDURE),
        empty="None. A booked procedure that lost its unit to a recall or a broken vial appears here.",
        permission="scheduling.view_appointment",
        place=15,
        urgent=True,
    ),
    Queue(
        title="MRI studies without a patient",
        rows=unassigned,
        line=lambda study, at: Line(
            f"Study {study.identifier}",
            f"made {show.day(study.acquired_on)}" if study.acquired_on else "day not known",
            show.step_page(study, "assign"),
            "Say whose it is",
        ),
        everything=lambda: show.list_of(MriStudy, assigned="no"),
        empty="None. A study that came without a known patient waits here.",
        permission="scheduling.view_mristudy",
        place=110,
    ),
)
