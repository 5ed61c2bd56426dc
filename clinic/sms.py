"""The door to the SMS provider: like the mail relay's (`clinic.relay`), it is open before anything is claimed, and says
what its answer means. A provider is a class that is named in settings.SMS_LINE."""

import http.client
import json
import logging
import ssl
import sys
from typing import Protocol
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.utils.module_loading import import_string

from clinic import faults
from clinic.relay import Answer, Reply

log = logging.getLogger(__name__)

# GSM 03.38: what fits seven bits; a text with anything else is sent in 16 bits, and holds less than half as much.
GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_TWICE = frozenset("^{}\\[~]|€\f")  # of two septets each

LATER = frozenset({425, 429, 503})
OUR_FAULT = frozenset({401, 402, 403, 404, 405, 407})  # key, credit or address: it would hit every message alike
UNSURE = frozenset({408, 500, 502, 504})  # the provider may have passed it on before it fell over
LONGEST_ANSWER = 1000  # bytes that are read of it


class Line(Protocol):
    """One batch's line to a provider."""

    def ready(self) -> bool:
        """Whether it can be sent now. Asked before each claim."""

    def send(self, to: str, text: str, message_id: str) -> Reply: ...

    def close(self) -> None: ...


def line() -> Line:
    """A new line to the provider of this installation."""
    return import_string(settings.SMS_LINE)()


def segments(text: str) -> int:
    """How many messages the phone network makes of `text`, each of which is paid for."""
    if all(mark in GSM or mark in GSM_TWICE for mark in text):
        units, one, several = len(text) + sum(mark in GSM_TWICE for mark in text), 160, 153
    else:
        units, one, several = len(text.encode("utf-16-be")) // 2, 70, 67
    return 1 if units <= one else -(-units // several)


class Nobody:
    """There is no provider: what is due by SMS fails, where a person sees it, rather than wait for nobody."""

    def ready(self) -> bool:
        return True

    def send(self, to: str, text: str, message_id: str) -> Reply:
        return Reply(Answer.REFUSED, "No SMS provider is set up.")

    def close(self) -> None:
        pass


class Console:
    """Shows what would be sent, on the screen of who runs it. For trying things out; a check refuses it elsewhere."""

    def ready(self) -> bool:
        return True

    def send(self, to: str, text: str, message_id: str) -> Reply:
        sys.stdout.write(f"SMS to {to}: {text}\n")
        return Reply(Answer.TAKEN)

    def close(self) -> None:
        pass


class Http:
    """A provider that takes one POST for each message, as JSON or as a form, with a bearer token. What its fields are
    called is in settings.SMS_FIELDS. Redirects are not followed: the token is for one address only."""

    def __init__(self) -> None:
        self.url = urlsplit(settings.SMS_URL)
        self.connection: http.client.HTTPConnection | None = None

    def ready(self) -> bool:
        """A new connection each time: of one that was kept nobody knows whether the other side still listens."""
        self.close()
        try:
            self.connection = self._connect()
        except OSError as fault:
            log.warning("The SMS provider cannot be reached, so what is due stays due: %s", faults.told(fault))
            return False
        return True

    def _connect(self) -> http.client.HTTPConnection:
        host, port, timeout = self.url.hostname or "", self.url.port, settings.SMS_TIMEOUT
        if self.url.scheme == "https":
            context = ssl.create_default_context()
            connection: http.client.HTTPConnection
            connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
        elif self.url.scheme == "http" and host in settings.LOOPBACK:
            connection = http.client.HTTPConnection(host, port, timeout=timeout)
        else:
            raise ConnectionRefusedError("Only https.")  # the check says so too, before anything starts
        connection.connect()
        return connection

    def send(self, to: str, text: str, message_id: str) -> Reply:
        if self.connection is None:
            return Reply(Answer.LATER, "There is no line to the SMS provider.", line_broken=True)
        body, kind = self._body(to=to, text=text, reference=message_id)
        headers = {
            "Authorization": f"Bearer {settings.SMS_TOKEN}",
            "Content-Type": kind,
            "Idempotency-Key": message_id,  # a provider that knows it sends what is repeated once
        }
        try:
            path = f"{self.url.path or '/'}{'?' + self.url.query if self.url.query else ''}"
            self.connection.request("POST", path, body, headers)
            answer = self.connection.getresponse()
            said = answer.read1(LONGEST_ANSWER).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as fault:
            words = f"The line to the SMS provider broke ({type(fault).__name__})."
            return Reply(Answer.UNKNOWN, words, line_broken=True)
        finally:
            self.close()
        return judged(answer.status, said.replace(to, "the number").replace(to.lstrip("+"), "the number"))

    def _body(self, **given: str) -> tuple[bytes, str]:
        given["sender"] = settings.SMS_SENDER
        said = {settings.SMS_FIELDS[name]: value for name, value in given.items() if settings.SMS_FIELDS.get(name)}
        if settings.SMS_FORMAT == "form":
            return urlencode(said).encode(), "application/x-www-form-urlencoded"
        return json.dumps(said).encode(), "application/json"

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.connection = None


def judged(code: int, said: str) -> Reply:
    """What an HTTP answer means for the message, and for the line."""
    words = f"The SMS provider answered: {code} {' '.join(said.split())[:200]}".strip()
    if 200 <= code < 300:
        return Reply(Answer.TAKEN)
    if code in UNSURE:
        return Reply(Answer.UNKNOWN, words, line_broken=True)
    if code in LATER or code in OUR_FAULT or code < 400:
        return Reply(Answer.LATER, words, line_broken=True)
    if code < 500:
        return Reply(Answer.REFUSED, words)
    return Reply(Answer.UNKNOWN, words, line_broken=True)
