"""Calendar feeds at the desk: a secret address for a room, a person or a patient, made on its own page."""

from django.utils.html import format_html

from clinic.admin import show
from clinic.admin.pages import Panel, add_panels
from clinic.admin.steps import StepAction, add_steps
from clinic.models import Link, Patient, Practitioner
from clinic.models.links import Purpose
from scheduling import feeds
from scheduling.models import Resource


def make_link(row, *, by, at):
    return feeds.link_for(row)


def address(link, request):
    """The address itself, for whoever it was made for; nothing for a survey's link, which only its patient needs."""
    if link.purpose != Purpose.FEED:
        return show.facts([("Address", "Only the patient's e-mail has it.")])
    if link.revoked_at:
        return show.facts([("Address", "Revoked. Make a new address to use it again.")])
    url = feeds.address_of(link)
    return format_html(
        '<p><code class="address">{}</code></p><p class="quiet">Whoever has this address sees the calendar without a '
        "login. "
        "Add it in a calendar program as a subscription; Google looks for news every 8 to 24 hours, Apple about "
        "every hour. "
        "It names no patient and no treatment.</p>",
        url,
    )


add_panels(Link, Panel("Address", address, first=True))
for model in (Resource, Practitioner, Patient):
    add_steps(
        model,
        StepAction(
            name="calendar",
            label="Calendar address",
            take=make_link,
            permission="clinic.change_link",
            consequence="A secret address is made (or found again), to be subscribed to in any calendar program.",
            done="Here is the address of the calendar. Give it only to whom it is for.",
            then=lambda link: link,
        ),
    )
