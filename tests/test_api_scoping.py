"""Every address of the API, walked by somebody of another site, by a machine of another site, by a stranger to the
house and by a login without a role: nothing of the first site is seen, and nothing in it can be done."""

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.urls import NoReverseMatch, get_resolver, reverse
from rest_framework.test import APIClient

from clinic import links
from clinic.models import StaffMember, StatusChange
from clinic.urls import api
from followup import adverse, events
from followup.demo import walk
from followup.models import FollowUpEvent
from scheduling import closures, reminders, waitlist
from scheduling.models import Resource
from scheduling.models.protocol import ResourceKind
from tests.api import logged_in

pytestmark = pytest.mark.usefixtures("clock_stopped")

OF_NO_SITE = {"protocols", "instruments"}  # a clinic's reference data, without patients
DAY = timedelta(days=1)


@pytest.fixture
def whole_path(site, patient, at):
    """A site in which every resource of the API has a row."""
    scanner = Resource.objects.get(site=site, kind=ResourceKind.MRI_SCANNER)
    night = DateTimeTZRange(at + timedelta(hours=12), at + timedelta(hours=13))
    closures.close(scanner, during=night, reason="Maintenance", by=walk.BY, at=at, plan={})
    appointment = walk.book(walk.open_episode(patient, at=at), at=at)
    reminders.queue_due(at=at)
    waitlist.add(appointment.episode, visit=appointment.visit, by=walk.BY, at=at)
    injection = walk.inject(appointment)
    events.open_due(at=injection.ended_at)
    event = FollowUpEvent.objects.get(episode=injection.episode, code="day-3")
    walk.follow_up(event, vas=40, at=injection.ended_at + 3 * DAY, worried=True)
    sore = {"term": "Soreness", "ctcae_version": "5.0", "grade": 1, "onset_on": injection.ended_at.date()}
    adverse.record(injection.episode, by=walk.BY, at=injection.ended_at + DAY, **sore)
    return site


@pytest.fixture
def passer_by():
    return APIClient()


@pytest.fixture
def neighbour(stranger):
    return logged_in(stranger)


@pytest.fixture
def neighbouring_machine(other_site, at):
    secret = links.issue_token(other_site, name="Bridge", may_write=True, expires_at=at + DAY, at=at)[1]
    return APIClient(headers={"Authorization": f"Bearer {secret}"})


@pytest.fixture
def outsider(db):
    """A login that is not of the staff."""
    client = APIClient()
    client.force_login(get_user_model().objects.create_user("outsider"))
    return client


@pytest.fixture
def trainee(site):
    """Staff of this very site, but with no role in it yet."""
    client = APIClient()
    user = get_user_model().objects.create_user("trainee", is_staff=True)
    StaffMember.objects.create(user=user).sites.add(site)
    client.force_login(user)
    return client


def routes():
    """Each thing in the API: its name in addresses, its list's address, and (method, address) of all on its rows."""
    for prefix, view, basename in api.registry:
        rows = list(view.queryset.values_list("pk", flat=True))
        on_rows = []
        for pk in rows[:2]:
            for name, methods in row_routes(view):
                on_rows += [(method, reverse(f"{basename}-{name}", args=[pk])) for method in methods]
        yield prefix, reverse(f"{basename}-list"), set(map(str, rows)), on_rows


def row_routes(view):
    methods = [method for method, has in [("get", "retrieve"), ("patch", "partial_update")] if hasattr(view, has)]
    yield "detail", methods
    for extra in view.get_extra_actions():
        if extra.detail:
            yield extra.url_name, list(extra.mapping)


def called(client, method, address):
    return getattr(client, method)(address, {}, **({} if method == "get" else {"format": "json"}))


def everything(client):
    """The status of every call on every row, and what each list shows."""
    statuses, shown = {}, {}
    for prefix, listing, rows, on_rows in routes():
        assert rows, f"{prefix} has no row, so this would prove nothing"
        answer = client.get(listing)
        found = answer.json().get("results", [])
        shown[prefix] = answer.status_code, len({str(row.get("id", row.get("code"))) for row in found})
        for method, address in on_rows:
            statuses[method, address] = called(client, method, address).status_code
    return statuses, shown


def done(statuses):
    """The calls that were answered otherwise than "there is no such thing" or "you may not", on what has a site."""
    open_to_all = tuple(f"/api/v1/{prefix}/" for prefix in OF_NO_SITE)
    return {
        call: status
        for call, status in statuses.items()
        if status not in (403, 404) and not call[1].startswith(open_to_all)
    }


def shown_to(shown):
    return {prefix for prefix, (_, count) in shown.items() if count}


@pytest.mark.parametrize("who", ["neighbour", "neighbouring_machine"])
def test_somebody_of_another_site_sees_nothing_and_does_nothing(whole_path, other_site, who, request):
    client = request.getfixturevalue(who)
    Resource.objects.filter(site=other_site).delete()
    trail = StatusChange.objects.count()

    statuses, shown = everything(client)

    assert done(statuses) == {}
    assert shown_to(shown) == OF_NO_SITE | {"sites"}
    assert client.get("/api/v1/sites/").json()["results"][0]["code"] == "other"
    assert shown["sites"] == (200, 1)
    assert StatusChange.objects.count() == trail


@pytest.mark.parametrize(("who", "status"), [("passer_by", 401), ("outsider", 403), ("trainee", 403)])
def test_who_has_no_role_here_is_let_in_nowhere(whole_path, who, status, request):
    client = request.getfixturevalue(who)

    statuses, shown = everything(client)

    assert set(statuses.values()) == {status}
    assert set(shown.values()) == {(status, 0)}


def test_a_passer_by_does_not_see_what_could_be_asked(passer_by, settings):
    settings.DEMO = False

    assert [passer_by.get(f"/api/{page}/").status_code for page in ("v1", "schema", "docs")] == [401] * 3


def test_the_demo_shows_everybody_what_could_be_asked_and_nothing_else(passer_by, settings):
    settings.DEMO = True

    assert [passer_by.get(f"/api/{page}/").status_code for page in ("v1", "schema", "docs")] == [401, 200, 200]


def test_the_coordinator_sees_all_of_it(whole_path, coordinator):
    client = APIClient()
    client.force_login(coordinator)

    counts = {prefix: client.get(listing).json()["count"] for prefix, listing, _, _ in routes()}

    assert counts == {prefix: len(rows) for prefix, _, rows, _ in routes()}


def test_every_address_of_the_api_is_walked(whole_path):
    """A view that is added by other means than the router would not be walked above."""
    walked = {address for _, listing, _, on_rows in routes() for address in [listing, *(a for _, a in on_rows)]}

    others = set()
    for pattern in get_resolver().reverse_dict:
        if not isinstance(pattern, str):
            continue
        try:
            address = reverse(pattern)
        except NoReverseMatch:
            continue
        if address.startswith("/api/") and address not in walked:
            others.add(address)
    assert others == {
        "/api/v1/",
        "/api/schema/",
        "/api/docs/",
        "/api/v1/appointments/hold/",
    }
