"""One patient on either side of the injection."""

import pytest

from followup.demo import walk
from scheduling.models import Episode


@pytest.fixture
def booked(patient, at):
    """An episode whose procedure is booked for a week from now."""
    appointment = walk.book(walk.open_episode(patient, at=at), at=at)
    return Episode.objects.get(pk=appointment.episode_id)


@pytest.fixture
def inject():
    """Takes a booked episode through its procedure day."""

    def injected(episode):
        walk.inject(episode.appointments.get(visit="procedure"))
        return Episode.objects.get(pk=episode.pk)

    return injected


@pytest.fixture
def injected(booked, inject):
    return inject(booked)
