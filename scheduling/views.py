"""The calendar behind a secret address. Looking changes nothing."""

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response
from django.utils.timezone import now
from django.views.decorators.http import require_safe

from clinic import links
from clinic.models.links import Purpose
from scheduling import feeds


@require_safe
def feed(request: HttpRequest, token: str) -> HttpResponse:
    at = now()
    link = links.find(token, purpose=Purpose.FEED, at=at)
    calendar = link and feeds.calendar(link, at=at)
    if calendar is None:
        raise Http404
    answer = HttpResponse(calendar, content_type="text/calendar; charset=utf-8")
    answer.headers["ETag"] = feeds.etag(calendar)
    # Each poll asks again, and mostly gets a 304; no cache on the way may keep the page behind a secret address.
    answer.headers["Cache-Control"] = "private, max-age=0, must-revalidate"
    answer.headers["X-Robots-Tag"] = "noindex"
    return get_conditional_response(request, etag=answer.headers["ETag"], response=answer)
