"""Where the mail provider tells what became of our mails. django-anymail checks who is calling and puts each provider's
words into the same few; what is about a mail of ours goes to `clinic.bounces`, and the rest is forgotten."""

from collections.abc import Iterator
from typing import Any

from anymail.exceptions import AnymailWebhookValidationFailure
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.module_loading import import_string
from django.utils.timezone import now
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from clinic import bounces
from clinic.reports import BOUNCED, COMPLAINED, DELIVERED, METADATA, PROVIDERS, Report

EVENTS = {"delivered": DELIVERED, "bounced": BOUNCED, "rejected": BOUNCED, "complained": COMPLAINED}
DEAD = frozenset({"bounced", "invalid"})  # of the reasons, those that say something of the address itself


@csrf_exempt
@require_http_methods(["POST", "HEAD"])
def mail_events(request: HttpRequest) -> HttpResponse:
    """Answers 400 to who cannot prove to be the provider, or says what nobody understands; the provider may repeat what
    was not answered with 200."""
    if settings.MAIL_PROVIDER not in PROVIDERS or not settings.MAIL_PROVIDER_SECRET:
        raise Http404
    if request.method == "HEAD":  # some ask whether anybody is there
        return HttpResponse()
    provider = import_string(PROVIDERS[settings.MAIL_PROVIDER])()
    provider.setup(request)
    try:
        provider.run_validators(request)
        events = provider.parse_events(request)
        reports = [report for event in events for report in _reports(event)]
    except (AnymailWebhookValidationFailure, AttributeError, IndexError, LookupError, TypeError, ValueError):
        return HttpResponse(status=400)
    at = now()
    for report in reports:
        bounces.receive(report, at=at)
    return HttpResponse()


def _reports(event: Any) -> Iterator[Report]:
    """What `event` says, once for each Message-ID it may mean: providers keep ours in different places, and one that is
    not ours is not found."""
    kind = EVENTS.get(event.event_type)
    if kind is None:
        return
    permanent = kind == COMPLAINED or (kind == BOUNCED and event.reject_reason in DEAD)
    words = " ".join(str(event.mta_response or event.description or event.reject_reason or "").split())[:500]
    for message_id in _ids(event):
        yield Report(message_id, kind, str(event.recipient or ""), permanent, words, event.timestamp)


def _ids(event: Any) -> set[str]:
    told = event.esp_event if isinstance(event.esp_event, dict) else {}
    metadata = event.metadata if isinstance(event.metadata, dict) else {}
    given = (event.message_id, told.get("smtp-id"), metadata.get(METADATA))
    return {f"<{one.strip().strip('<>')}>" for one in given if isinstance(one, str) and one.strip()}
