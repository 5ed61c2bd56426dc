"""Days on which the whole clinic is closed, whatever its hours say. Leaves a Holiday, on which nobody is booked."""

from datetime import date, datetime

from clinic.clock import day_bounds, local_date, short_day
from clinic.models import Site
from clinic.status import StepRefused, note
from clinic.text import clean
from scheduling import diary
from scheduling.models import Appointment, Holiday, Resource
from scheduling.states import APPOINTMENT_AHEAD, AppointmentStatus


class HolidayRefused(StepRefused):
    code = "holiday_refused"


@diary.one_commit()
def add_holiday(*, site: Site, day: date, name: str, by: str, at: datetime) -> Holiday:
    """Close the site for a day that nobody is booked on. Everything that could be booked is locked meanwhile, so that a
    booking is either seen here or sees the holiday."""
    name, on = clean(name), short_day(day)
    if not name or len(name) > 80:
        raise HolidayRefused("Say what the day is called, in up to 80 characters.")
    if day < local_date(at, site.zone):
        raise HolidayRefused(f"{on} has passed.")
    diary.lock(Resource.objects.filter(site=site, patient__isnull=True).values_list("pk", flat=True))
    if known := Holiday.objects.filter(site=site, day=day).first():
        raise HolidayRefused(f"{on} is a holiday already: {known.name}.")
    if booked := _visits_on(site, day, at=at):
        visits = "1 visit is" if booked == 1 else f"{booked} visits are"
        raise HolidayRefused(f"{visits} booked on {on}. Move or cancel what is booked, then close the day.")
    holiday = Holiday.objects.create(site=site, day=day, name=name)
    note(holiday, was="", became="closed", by=by, at=at, reason=name)
    return holiday


def _visits_on(site: Site, day: date, *, at: datetime) -> int:
    start, end = day_bounds(day, site.zone)
    ahead = Appointment.objects.filter(site=site, status__in=[*APPOINTMENT_AHEAD, AppointmentStatus.ARRIVED])
    lapsed = diary.lapsed(at=at).values("pk")
    return ahead.filter(during__overlap=(start, end)).exclude(pk__in=lapsed).count()
