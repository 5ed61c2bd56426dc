"""What runs on the present time must not depend on when somebody runs it."""

import pytest


@pytest.fixture(autouse=True)
def awake(request):
    """A real worker's clock may show the clinic's night."""
    if "site" in request.fixturenames:
        request.getfixturevalue("no_night")
