"""The dates of a treatment on a sheet and in a file, right after the injection; only for one's own patients."""

import csv
from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.urls import reverse

from followup import events
from followup.admin.dates import COLUMNS
from followup.demo import walk
from followup.models import FollowUpEvent
from tests.desk import Desk, offered


@pytest.fixture
def followed(injected, at):
    events.open_due(at=at)
    return injected


def address(episode, name):
    return reverse(f"admin:scheduling_episode_{name}", args=[episode.pk])


def get(user, episode, name):
    with time_machine.travel(episode.anchor_at + timedelta(hours=1), tick=False):
        return Desk(user).client.get(address(episode, name))


def test_every_date_range_is_in_the_file_and_no_name_is(followed, coordinator):
    response = get(coordinator, followed, "dates_csv")
    lines = list(csv.reader(response.content.decode().splitlines()))
    rows = {line[0]: dict(zip(COLUMNS, line, strict=True)) for line in lines[1:]}
    event = FollowUpEvent.objects.with_dates().get(episode=followed, code="month-6")

    assert (response["Content-Type"], tuple(lines[0])) == ("text/csv; charset=utf-8", COLUMNS)
    assert len(rows) == 14
    assert rows["6 months"] == {
        "time_point": "6 months",
        "kind": "Survey",
        "due_on": event.due_on.isoformat(),
        "best_from": event.optimal_opens_on.isoformat(),
        "best_until": event.optimal_closes_on.isoformat(),
        "counts_from": event.opens_on.isoformat(),
        "counts_until": event.closes_on.isoformat(),
        "state": "Open",
        "booked_on": "",
    }
    assert "Reyes" not in response.content.decode() + response["Content-Disposition"]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(1)"])
def test_a_spreadsheet_reads_no_formula_out_of_a_name(followed, coordinator, name):
    FollowUpEvent.objects.filter(episode=followed, code="month-6").update(name=name)

    lines = csv.reader(get(coordinator, followed, "dates_csv").content.decode().splitlines())

    assert [line[0] for line in lines if name in line[0]] == [f"'{name}"]


def test_the_sheet_names_the_patient_the_injection_and_every_range(followed, coordinator):
    response = get(coordinator, followed, "dates")
    page = response.content.decode()

    assert "Reyes, Marta" in page
    assert len(response.context["rows"]) == 14
    assert "Wed 11 Nov 2026" in page
    assert "only planned" not in page


def test_a_plan_is_called_a_plan(booked, coordinator, at):
    events.open_due(at=at)

    assert "The injection is only planned" in get(coordinator, booked, "dates").content.decode()


def test_a_treatment_without_a_date_has_a_sheet_that_says_so(patient, coordinator, at):
    episode = walk.open_episode(patient, at=at)
    with time_machine.travel(at, tick=False):
        page = Desk(coordinator).client.get(address(episode, "dates"))
        file = Desk(coordinator).client.get(address(episode, "dates_csv"))

    assert "The plan appears when the procedure is booked" in page.content.decode()
    assert file.content.decode().splitlines() == [",".join(COLUMNS)]


@pytest.mark.parametrize("name", ["dates", "dates_csv"])
def test_another_sites_staff_and_who_may_not_look_get_nothing(followed, stranger, name):
    nobody = get_user_model().objects.create_user("nobody", password="a long test password", is_staff=True)

    assert get(stranger, followed, name).status_code == 404
    assert get(nobody, followed, name).status_code == 403


def test_the_sheet_is_offered_on_the_page_of_the_treatment(followed, coordinator):
    with time_machine.travel(followed.anchor_at, tick=False):
        page = Desk(coordinator).page(followed)

    assert "Dates to print or save" in offered(page)
