"""Where a rehearsal may do no harm: a database of its own that is dropped afterwards, and mail that is only counted."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from django.conf import settings
from django.core.mail.backends.base import BaseEmailBackend
from django.db import connection


class CountingBackend(BaseEmailBackend):
    """Accepts every mail, counts it by its Message-ID, and forgets the text."""

    sent: ClassVar[Counter[str]] = Counter()
    fresh: ClassVar[list[str]] = []

    def send_messages(self, email_messages: Any) -> int:
        for mail in email_messages:
            mail.message()  # what a real server would refuse to build must fail here too
            message_id = mail.extra_headers["Message-ID"]
            self.sent[message_id] += 1
            self.fresh.append(message_id)
        return len(email_messages)

    @classmethod
    def take_fresh(cls) -> list[str]:
        """The Message-IDs accepted since the last call."""
        taken, cls.fresh = cls.fresh, []
        return taken


@contextmanager
def scratch_database() -> Iterator[None]:
    """An empty, migrated database beside the configured one. The rehearsal's mail goes nowhere."""
    kept = connection.settings_dict["NAME"]
    connection.settings_dict.setdefault("TEST", {})["NAME"] = f"{kept}_rehearsal_{os.getpid()}"
    settings.EMAIL_BACKEND = f"{CountingBackend.__module__}.{CountingBackend.__qualname__}"
    settings.DEMO = True  # the placeholder wording of licensed instruments may be used: no patient sees it
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        yield
    finally:
        connection.creation.destroy_test_db(kept, verbosity=0)
