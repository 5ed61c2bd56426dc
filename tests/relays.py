"""A real mail server in a thread whose answers a test chooses."""

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP


class Relay(Controller):
    """`answers` maps RCPT, MAIL or DATA to a line such as "450 Later", or to "cut": the line breaks right there."""

    def __init__(self):
        super().__init__(self, hostname="127.0.0.1", port=0)
        self.answers: dict[str, str] = {}
        self.refuse = ""
        self.taken: list[tuple[str, str]] = []

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

    def _answer(self, command, server):
        answer = self.answers.get(command, "250 OK")
        if answer == "cut":
            server.transport.abort()
        return answer

    async def handle_MAIL(self, server, session, envelope, address, options):
        envelope.mail_from = address
        return self._answer("MAIL", server)

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address == self.refuse:
            return "550 No such user"
        envelope.rcpt_tos.append(address)
        return self._answer("RCPT", server)

    async def handle_DATA(self, server, session, envelope):
        answer = self._answer("DATA", server)
        if answer.startswith("250"):
            headers = envelope.content.decode().splitlines()
            message_id = next(line for line in headers if line.lower().startswith("message-id:"))
            self.taken.append((envelope.rcpt_tos[0], message_id.partition(":")[2].strip()))
        return answer
