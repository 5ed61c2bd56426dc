"""The whole desk with a whole clinic in it: every page opens, shows only one's own clinic, changes nothing by being
looked at, and asks the database as often for many rows as for one."""

import re

import pytest
import time_machine
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from clinic.admin import show
from clinic.roles import COORDINATOR
from followup import demo
from followup.demo import Step
from scheduling import feeds, reminders
from scheduling.models import Resource
from tests.conftest import AT
from tests.desk import Desk, address

# What must not be in a page, because the content security policy forbids it.
pytestmark = pytest.mark.slow

INLINE = re.compile(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|javascript:", re.IGNORECASE)
WRITES = re.compile(r"^\s*(INSERT|UPDATE|DELETE)", re.IGNORECASE)


@pytest.fixture(scope="module")
def clinics(django_db_setup, django_db_blocker):
    """One clinic with patients at every step, another next door, and somebody who works at each."""
    with django_db_blocker.unblock(), transaction.atomic():
        site = demo.found_clinic()
        demo.complete_products()
        demo.seed(site, to=Step.FOLLOWED_UP, at=AT)
        other = demo.found_clinic(code="other", name="Harbour Clinic", zone="Europe/Berlin")
        reminders.queue_due(at=AT)
        for resource in Resource.objects.filter(site=site, patient__isnull=True)[:3]:
            feeds.link_for(resource)
        demo.staff_member(site, "ann", COORDINATOR, password="a long test password")
        demo.staff_member(other, "eve", COORDINATOR, password="a long test password")
        get_user_model().objects.create_superuser("root", password="a long test password")
        yield site
        transaction.set_rollback(True)


@pytest.fixture
def world(clinics, db):
    with time_machine.travel(AT, tick=False):
        yield clinics


def login(username):
    return Desk(get_user_model().objects.get(username=username))


def models():
    return sorted(admin.site._registry, key=lambda model: model._meta.label)


def some_rows(model, site):
    """A few rows of the clinic, of every status there is."""
    found = [row for row in model._default_manager.all()[:100] if show.site_of(row) in (None, site)]
    return list({getattr(row, "status", ""): row for row in found}.values())


def test_every_page_opens_changes_nothing_and_keeps_the_security_policy(world):
    desk = login("root")
    urls = [reverse("admin:index")]
    for model in models():
        urls += [address(model, "changelist"), address(model, "add")]
        steps = {}
        for row in some_rows(model, world):
            page = desk.page(row)
            if page.status_code == 200:  # a patient is a resource too, but has a page of another kind
                urls.append(address(row, "change", row.pk))
                steps |= {step["label"]: step["url"] for step in page.context.get("possible", ())}
        urls += steps.values()

    wrong = []
    for url in urls:
        with CaptureQueriesContext(connection) as asked:
            response = desk.own.get(url, follow=True)
        expected = (200, 403) if url.endswith("/add/") else (200,)
        writes = [query["sql"][:80] for query in asked if WRITES.match(query["sql"])]
        inline = INLINE.findall(response.content.decode())
        if response.status_code not in expected or writes or inline:
            wrong.append((url, response.status_code, writes, inline))

    assert wrong == []
    assert len(urls) > 120


def test_somebody_from_another_clinic_sees_nothing_of_this_one(world):
    desk = login("eve")
    leaks = []
    for model in models():
        here = [row for row in some_rows(model, world) if show.site_of(row) == world]
        listed = desk.list(model)
        shown = listed.context["cl"].result_list if listed.status_code == 200 else ()
        leaks += [row for row in shown if show.site_of(row) == world]
        for row in here:
            if desk.page(row).status_code == 200:
                leaks.append(row)
            if "steps" in dir(admin.site.get_model_admin(model)):
                steps = admin.site.get_model_admin(model).all_steps()
                leaks += [(row, step.name) for step in steps if desk.ask(row, step.name).status_code != 404]

    assert leaks == []
    assert {look.count for look in desk.client.get(reverse("admin:index")).context["queues"]} == {0}


def test_a_list_asks_the_database_as_often_for_three_rows_as_for_one(world, monkeypatch):
    desk = login("root")
    different, most = {}, 0
    for model in models():
        page = admin.site.get_model_admin(model)
        counts = []
        for length in (1, 3):
            monkeypatch.setattr(page, "list_per_page", length)
            everything = {name: "all" for name in ("when", "work") if has_filter(page, name)}
            desk.list(model, **everything)  # whatever is asked once and remembered is asked here
            with CaptureQueriesContext(connection) as asked:
                response = desk.own.get(address(model, "changelist"), everything)
            counts.append((len(response.context["cl"].result_list), len(asked)))
        most = max(most, *(count for _, count in counts))
        if counts[0][1] != counts[1][1]:
            different[model._meta.label] = counts

    assert (different, most) == ({}, 8)


def has_filter(page, name):
    return any(getattr(one, "parameter_name", None) == name for one in page.list_filter)


def test_a_list_has_at_most_seven_columns_and_says_what_fills_it(world, rf):
    request = rf.get("/")
    request.user = get_user_model().objects.get(username="root")

    pages = [admin.site.get_model_admin(model) for model in models() if model._meta.app_label != "auth"]
    too_wide = [page for page in pages if len(page.get_list_display(request)) > 7]
    speechless = [page for page in pages if not (page.question.endswith("?") and page.empty)]

    assert (too_wide, speechless) == ([], [])


def test_the_first_page_leads_from_each_queue_to_the_work(world):
    desk = login("ann")
    response = desk.client.get(reverse("admin:index"))
    looks = {look.queue.title: look for look in response.context["queues"]}

    assert looks["Referrals to answer"].count == 3
    assert looks["Verdicts to sign"].count == 1
    assert looks["Unconfirmed in the next 7 days"].count >= 1
    assert [
        line.url
        for look in looks.values()
        for line in look.lines
        if desk.client.get(line.url, follow=True).status_code != 200
    ] == []
    assert [look.url for look in looks.values() if desk.client.get(look.url).status_code != 200] == []
