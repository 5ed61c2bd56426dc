"""What has to be said by phone: whom to call, with the number, and how the call went."""

from django import forms

from clinic import phone
from clinic.admin import show
from clinic.admin.messages import kind_of
from clinic.admin.pages import DateTimeInput
from clinic.admin.steps import StepAction, StepForm, add_steps
from clinic.desk import Line, Queue, register
from clinic.models import Channel, Message
from clinic.phone import CallOutcome
from clinic.states import MessageStatus


class CallForm(StepForm):
    outcome = forms.ChoiceField(label="How did it go?", choices=CallOutcome.choices, widget=forms.RadioSelect)
    again_at = forms.DateTimeField(
        label="Call again at",
        required=False,
        widget=DateTimeInput,
        help_text="Only if you know when. Empty: in two hours.",
    )
    note = forms.CharField(
        label="Note",
        required=False,
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="It is kept with the call, with your name and the time.",
    )


def to_make(message) -> bool:
    return message.channel == Channel.PHONE and message.status == MessageStatus.DUE


add_steps(
    Message,
    StepAction(
        name="call",
        label="The call was made",
        take=phone.call_made,
        form=CallForm,
        available=to_make,
        consequence=lambda message: (
            f"Call {message.patient} on {message.patient.phone or 'a number that we do not have yet'} "
            f"about: {kind_of(message).lower()}."
        ),
        done=lambda message: f"The call to {message.patient} is recorded.",
        main=True,
    ),
)

register(
    Queue(
        title="Calls to make",
        rows=lambda user, at: phone.waiting(at=at).visible_to(user),
        line=lambda message, at: Line(
            str(message.patient),
            f"{kind_of(message)}; phone {message.patient.phone or 'not known'}"
            + (f"; before {show.when(message.not_after, message.site.zone)}" if message.not_after else "")
            + (f"; {message.reason}" if message.reason else ""),
            show.step_page(message, "call"),
            "Call",
        ),
        everything=lambda: show.list_of(Message, channel__exact=Channel.PHONE, status__exact=MessageStatus.DUE),
        empty="None. What a clinic wants to say by phone, or could not say otherwise, appears here when it is due.",
        permission="clinic.view_message",
        place=68,
    )
)
