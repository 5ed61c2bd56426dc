import pytest

from clinic import messages
from clinic.models import Message
from tests.relays import Relay


@pytest.fixture
def plain(settings):
    settings.MESSAGE_KINDS = {"test.plain": "tests.plain.Plain"}


@pytest.fixture
def due(patient, at, plain):
    def queued(occasion="", **given):
        message = Message(
            site=patient.site,
            patient=given.pop("patient", patient),
            kind="test.plain",
            about="1",
            occasion=occasion,
            due_at=given.pop("due_at", at),
            **given,
        )
        messages.queue([message])
        return Message.objects.get(kind="test.plain", occasion=occasion)

    return queued


@pytest.fixture
def relay(settings):
    """A real mail server whose answers the test chooses."""
    with Relay() as relay:
        settings.EMAIL_BACKEND = "clinic.relay.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", relay.port
        yield relay
