"""What a treated patient's own calendar shows beside appointments: when each stage of their plan begins and ends. It
says no more than that there is a plan: what is in it stands in the mail that the patient gets on its first day."""

from collections.abc import Iterable
from datetime import timedelta

from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.utils.translation import gettext

from clinic import clock
from clinic.models import Patient
from followup import recovery
from scheduling.feeds import uid_of
from scheduling.invites import CONFIRMED, Entry
from scheduling.models import Episode
from scheduling.states import EpisodeStatus

IN_CARE = (EpisodeStatus.ACTIVE, EpisodeStatus.COMPLETED)


def stages_of(patient: Patient, window: DateTimeTZRange) -> Iterable[Entry]:
    """One entry of whole days per stage that ends, counted from the actual injection: it cannot move any more."""
    if patient.deceased:
        return
    zone = patient.site.time_zone
    first, last = (clock.local_date(edge, zone) for edge in (window.lower, window.upper))
    treated = Episode.objects.filter(patient=patient, injected=True, status__in=IN_CARE)
    for episode in treated.select_related("patient__site").order_by("anchor_at"):
        for number, stage in enumerate(recovery.stages(episode), start=1):
            ends_on = stage.ends_on
            if ends_on is None or not stage.stage.tell_patient or ends_on < first or stage.begins_on > last:
                continue
            assert episode.anchor_at is not None  # noqa: S101 - an_injected_episode_has_its_anchor
            yield Entry(
                uid=uid_of("followup.stage", f"{episode.pk} {stage.stage.code}"),
                start=stage.begins_on,
                end=ends_on + timedelta(days=1),
                sequence=0,
                changed_at=episode.anchor_at,
                status=CONFIRMED,
                summary=gettext("Clinic plan, part %(number)d") % {"number": number},
                location=patient.site.name,
            )
