"""A real mail server in a thread whose answers a test chooses."""

import asyncio
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP


class Relay(Controller):
    """`answers` maps RCPT, MAIL or DATA to a line such as "450 Later", to "cut": the line breaks right there, or
    to "hang": no answer ever comes."""

    def __init__(self):
        super().__init__(self, hostname="127.0.0.1", port=0)
        self.answers: dict[str, str] = {}
        self.once: dict[str, str] = {}  # the same, for the next time only
        self.refuse = ""
        self.mails: list[EmailMessage] = []

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def factory(self):
        return SMTP(self.handler, hostname="relay.example.org", enable_SMTPUTF8=False)

    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()

    @property
    def taken(self) -> list[tuple[str, str]]:
        return [(mail["To"], mail["Message-ID"]) for mail in self.mails]

    async def _answer(self, command, server):
        answer = self.once.pop(command, "") or self.answers.get(command, "250 OK")
        if answer == "cut":
            server.transport.abort()
        if answer == "hang":
            await asyncio.Event().wait()
        return answer

    async def handle_MAIL(self, server, session, envelope, address, options):
        envelope.mail_from = address
        return await self._answer("MAIL", server)

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address == self.refuse:
            return "550 No such user"
        envelope.rcpt_tos.append(address)
        return await self._answer("RCPT", server)

    async def handle_DATA(self, server, session, envelope):
        answer = await self._answer("DATA", server)
        if answer.startswith("250"):
            self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return answer
