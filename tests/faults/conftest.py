"""What runs on the present time must not depend on when somebody runs it."""

from datetime import time

import pytest


@pytest.fixture
def site(site):
    """A clinic without quiet hours: a real worker's clock may show the clinic's night."""
    site.quiet_from = site.quiet_until = time(0)
    site.save(update_fields=["quiet_from", "quiet_until"])
    return site
