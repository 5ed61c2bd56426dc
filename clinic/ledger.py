"""What is known of a mail after it left."""

import logging
from datetime import datetime

log = logging.getLogger(__name__)


def note(message_id: str, event: str, *, at: datetime, words: str = "") -> None:
    """Keep one event of one mail."""
    log.info("Mail %s: %s at %s", message_id, event, at.isoformat())
