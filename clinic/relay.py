"""The door to the mail relay: an open line before anything is claimed, and what the relay's answer means.

SMTP cannot say whether a mail was taken when the line breaks after the end of its text was sent (RFC 1047). So the door
notes when that was, and answers "unknown" where nobody can know.
"""

import logging
import smtplib
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any

from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends import smtp

from clinic import faults

log = logging.getLogger(__name__)

END_OF_TEXT = b"\r\n.\r\n"
FRESH = 1.0  # seconds for which a line that has just answered is taken to be open


class Answer(Enum):
    TAKEN = "taken"
    LATER = "later"  # surely not taken; worth another try
    REFUSED = "refused"  # surely not taken, and never will be
    UNKNOWN = "unknown"  # the line broke where the relay may have taken it


@dataclass(frozen=True)
class Reply:
    answer: Answer
    words: str = ""
    line_broken: bool = False  # the trouble is the relay's, not this mail's


class TooLate(smtplib.SMTPException):
    """Whoever wanted to send was held up for so long that somebody else may soon send in their place."""


class NotesData:
    """Mixed into an SMTP client: whether the whole text of the latest mail was handed to the line, and the moment (of
    this machine's own clock) after which it must not begin to be."""

    data_ended = False
    begin_by: float | None = None

    def data(self, msg: Any) -> Any:
        if self.begin_by is not None and time.monotonic() > self.begin_by:
            raise TooLate
        faults.point("messages.before_data")
        answer = super().data(msg)  # type: ignore[misc]
        faults.point("messages.after_data")
        return answer

    def send(self, s: Any) -> None:
        if isinstance(s, bytes) and s.endswith(END_OF_TEXT):
            self.data_ended = True
        super().send(s)  # type: ignore[misc]


class EmailBackend(smtp.EmailBackend):
    """Django's SMTP backend with a client that notes how far the text got."""

    @property
    def connection_class(self) -> type:
        return type("NotingClient", (NotesData, super().connection_class), {})


class Relay:
    """One batch's line to the relay, whatever EMAIL_BACKEND is."""

    def __init__(self) -> None:
        self.backend = get_connection()
        self.answered_at = 0.0

    @property
    def client(self) -> smtplib.SMTP | None:
        client = getattr(self.backend, "connection", None)
        return client if isinstance(client, smtplib.SMTP) else None

    def ready(self) -> bool:
        """Whether the line is open, opened again if it had been closed. Asked before each claim, never after: a
        worker that claims first and then waits for a line can lose its lease to another and both send."""
        if self.client and not self._answers():
            self._hang_up()
        try:
            self.backend.open()
        except OSError as fault:  # every smtplib error is one
            log.warning("The mail relay cannot be reached, so what is due stays due: %s", faults.told(fault))
            return False
        return True

    def _answers(self) -> bool:
        if time.monotonic() - self.answered_at < FRESH:
            return True
        try:
            return bool(self.client and self.client.noop()[0] == 250)
        except OSError:
            return False

    def send(self, email: EmailMessage, *, begin_by: float | None = None) -> Reply:
        """Hand `email` over on the open line. Its text does not begin to travel after `begin_by` (time.monotonic)."""
        client: Any = self.client
        if isinstance(self.backend, smtp.EmailBackend) and client is None:
            return Reply(Answer.LATER, "The line to the mail relay was closed.", line_broken=True)
        if isinstance(client, NotesData):
            client.data_ended, client.begin_by = False, begin_by
        reply = self._handed_over(email)
        self.answered_at = 0.0 if reply.line_broken else time.monotonic()
        return reply

    def _handed_over(self, email: EmailMessage) -> Reply:
        try:
            self.backend.send_messages([email])
        except smtplib.SMTPRecipientsRefused as refused:
            return _judged(*next(iter(refused.recipients.values())))
        except smtplib.SMTPDataError as refused:
            return _judged(refused.smtp_code, refused.smtp_error)
        except smtplib.SMTPResponseException as refused:
            # Our greeting or our sender was refused: that would hit every mail alike, so it is not this one's fault.
            return Reply(Answer.LATER, _told(refused.smtp_code, refused.smtp_error), line_broken=True)
        except Exception as fault:  # whatever happened, the row must say what is known
            return self._broke(fault)
        return Reply(Answer.TAKEN)

    def _broke(self, fault: Exception) -> Reply:
        words = f"The line to the mail relay broke ({type(fault).__name__})."
        ended = self.client.data_ended if isinstance(self.client, NotesData) else True
        self._hang_up()
        return Reply(Answer.UNKNOWN if ended else Answer.LATER, words, line_broken=True)

    def _hang_up(self) -> None:
        """Without a word: whoever did not answer just now would only keep us waiting for an answer to QUIT."""
        if self.client:
            self.client.close()
            self.backend.connection = None  # type: ignore[attr-defined]

    def close(self) -> None:
        with suppress(OSError):
            self.backend.close()


def _judged(code: int, words: bytes | str) -> Reply:
    if code == 421:  # "closing": true of the line, says nothing about the mail
        return Reply(Answer.LATER, _told(code, words), line_broken=True)
    if 400 <= code < 500:
        return Reply(Answer.LATER, _told(code, words))
    if 500 <= code < 600:
        return Reply(Answer.REFUSED, _told(code, words))
    return Reply(Answer.UNKNOWN, _told(code, words), line_broken=True)


def _told(code: int, words: bytes | str) -> str:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return f"The mail relay answered: {code} {' '.join(text.split())[:300]}"
