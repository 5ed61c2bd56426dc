"""More that waits on the first page: serious adverse events, MRIs whose study has not come, studies that nobody has
read, and those that two readers see differently."""

from clinic.admin import show
from clinic.desk import Line, Queue, register
from followup import adverse, imaging
from followup.admin.queues import mine
from followup.models import AdverseEvent, FollowUpEvent
from followup.states import EventStatus
from scheduling import studies
from scheduling.models import MriStudy


def whose(study) -> str:
    return str(study.patient) if study.patient else f"Study {study.identifier}, nobody's yet"


def made(study) -> str:
    return f"made on {show.day(study.acquired_on)}" if study.acquired_on else "made on a day that is not known"


register(
    Queue(
        title="Serious adverse events",
        rows=lambda user, at: adverse.open_serious().visible_to(user),
        line=lambda event, at: Line(
            str(event.episode.patient),
            f"{event.term}, grade {event.grade}, since {show.day(event.onset_on)}. {event.get_status_display()}.",
            show.page_of(event),
            "Look",
        ),
        everything=lambda: show.list_of(AdverseEvent, status__in="open,followed"),
        empty="None. A serious adverse event stays here until it is closed.",
        permission="followup.view_adverseevent",
        place=15,
        urgent=True,
    ),
    Queue(
        title="MRIs that were made and have not come",
        rows=mine(lambda at: imaging.to_receive()),
        line=lambda event, at: Line(
            str(event.episode.patient),
            f"{event.name}, made on {show.when(event.appointment.during.lower, show.zone_of(event))}",
            show.page_of(event),
            "Receive it",
        ),
        everything=lambda: show.list_of(FollowUpEvent, kind="mri", status=EventStatus.OPEN),
        empty="None. An MRI is done when its study has come; until then it waits here.",
        permission="followup.view_followupevent",
        place=102,
    ),
    Queue(
        title="MRIs to read",
        rows=lambda user, at: studies.unread().visible_to(user),
        line=lambda study, at: Line(whose(study), made(study), show.page_of(study), "Enter the reading"),
        everything=lambda: show.list_of(MriStudy, reading="unread"),
        empty="None. A study that has come waits here until somebody has read it.",
        permission="scheduling.view_mristudy",
        place=104,
    ),
    Queue(
        title="Readers who differ",
        rows=lambda user, at: studies.disputed().prefetch_related("discs").visible_to(user),
        line=lambda study, at: Line(
            whose(study), f"{', '.join(studies.to_agree(study))}, {made(study)}", show.page_of(study), "Agree"
        ),
        everything=lambda: show.list_of(MriStudy, reading="disputed"),
        empty="None. Where two readers see a disc differently, it waits here for their consensus.",
        permission="scheduling.view_mristudy",
        place=106,
    ),
)
