"""Machine clients: a token that is shown once, kept as a hash, good for one site and for a while, and never signs."""

from datetime import timedelta
from io import StringIO

import pytest
import time_machine
from django.core.management import CommandError, call_command
from redis.exceptions import ConnectionError as CacheGone
from rest_framework.test import APIClient
from rest_framework.throttling import UserRateThrottle

from clinic import links
from clinic.models import ApiToken, OptOut, Patient, StatusChange
from followup.demo import walk
from scheduling import evaluations

pytestmark = pytest.mark.usefixtures("clock_stopped")

DAY = timedelta(days=1)


@pytest.fixture
def issue(at):
    def issue(site, *, may_write=False, days=30):
        return links.issue_token(site, name="Bridge", may_write=may_write, expires_at=at + days * DAY, at=at)

    return issue


def bearing(secret):
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


def test_a_token_is_printed_once_and_only_its_hash_is_kept(site, at):
    out = StringIO()

    call_command(
        "create_api_token", "demo", "Hospital record", "--write", "--days", "30", stdout=out, stderr=StringIO()
    )

    secret = out.getvalue().strip()
    token = ApiToken.objects.get()
    assert (token.name, token.site, token.may_write, token.expires_at) == ("Hospital record", site, True, at + 30 * DAY)
    assert token.token_hash == links.hash_of(secret)
    assert secret not in str(vars(token))
    assert bearing(secret).get("/api/v1/sites/").status_code == 200


@pytest.mark.parametrize("given", [("nowhere", "Bridge"), ("demo", ""), ("demo", "Bridge", "--days", "0")])
def test_a_token_for_nobody_or_for_no_time_is_not_made(site, given):
    with pytest.raises(CommandError):
        call_command("create_api_token", *given)

    assert not ApiToken.objects.exists()


def test_a_token_sees_its_own_site_and_no_other(site, other_site, patient, issue, at):
    theirs = walk.register(other_site, at=at, mrn="MRN-2")
    client = bearing(issue(site)[1])

    listed = client.get("/api/v1/patients/").json()["results"]

    assert [row["id"] for row in listed] == [str(patient.pk)]
    assert client.get(f"/api/v1/patients/{theirs.pk}/").status_code == 404
    assert [row["code"] for row in client.get("/api/v1/sites/").json()["results"]] == ["demo"]


@pytest.mark.parametrize("secret", ["", "x", "Bridge", "pulposus_", "\x7f", "a" * 5000])
def test_an_unknown_token_opens_nothing(site, issue, secret):
    issue(site)

    answer = bearing(secret).get("/api/v1/patients/")

    assert answer.status_code == 401
    assert answer.json() == {
        "code": "authentication_failed",
        "detail": "This token is unknown, expired or revoked. Ask the clinic for another.",
    }
    assert answer["WWW-Authenticate"] == 'Bearer realm="Pulposus"'


def test_a_token_ends_on_its_day(site, issue, at):
    client = bearing(issue(site, days=30)[1])

    with time_machine.travel(at + 30 * DAY - timedelta(seconds=1), tick=False):
        assert client.get("/api/v1/sites/").status_code == 200
    with time_machine.travel(at + 30 * DAY, tick=False):
        assert client.get("/api/v1/sites/").status_code == 401


def test_a_revoked_token_stops_at_once(site, issue, at):
    token, secret = issue(site)
    assert bearing(secret).get("/api/v1/sites/").status_code == 200

    links.revoke(token, at=at)

    assert bearing(secret).get("/api/v1/sites/").status_code == 401


def test_a_reading_token_does_not_write(site, patient, issue):
    client = bearing(issue(site)[1])

    answer = client.post(f"/api/v1/patients/{patient.pk}/stop-email/")

    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert not OptOut.objects.exists()


def test_a_writing_token_takes_steps_and_the_trail_names_it(site, patient, issue, at):
    client = bearing(issue(site, may_write=True)[1])

    answer = client.post(f"/api/v1/patients/{patient.pk}/stop-email/")

    assert answer.status_code == 200
    assert answer.json()["opted_out"] == [{"channel": "email", "category": "", "since": "2026-05-04T14:00:00Z"}]
    assert StatusChange.objects.filter(subject="clinic.Patient").latest("pk").by == "api:Bridge"


def test_a_token_registers_patients_at_its_own_site_only(site, other_site, issue):
    client = bearing(issue(site, may_write=True)[1])
    sent = {"mrn": "MRN-7", "family_name": "Ito"}

    assert client.post("/api/v1/patients/", sent).json()["site"] == "demo"
    refused = client.post("/api/v1/patients/", sent | {"site": "other"})

    assert (refused.status_code, list(refused.json()["fields"])) == (400, ["site"])
    assert Patient.objects.filter(site=other_site).count() == 0


@pytest.mark.parametrize(("step", "body"), [("sign", {}), ("override", {"outcome": "eligible", "reason": "x"})])
def test_a_machine_never_signs_a_verdict(patient, site, issue, at, step, body):
    evaluation = walk.evaluate(walk.refer(patient, at=at), at=at)
    verdict = evaluations.judge(evaluation, protocol=walk.protocol(), by=walk.BY, at=at)
    client = bearing(issue(site, may_write=True)[1])

    answer = client.post(f"/api/v1/verdicts/{verdict.pk}/{step}/", body)

    assert answer.status_code == 403
    verdict.refresh_from_db()
    assert verdict.status == "draft"


def test_a_reference_to_another_site_is_as_unknown_as_one_to_nothing(site, other_site, issue, at):
    theirs = walk.register(other_site, at=at, mrn="MRN-2")
    client = bearing(issue(site, may_write=True)[1])
    sent = {"source": "A practice", "reason": "Back pain", "received_on": "2026-05-01"}

    refused = client.post("/api/v1/referrals/", sent | {"patient": str(theirs.pk)})
    unknown = client.post("/api/v1/referrals/", sent | {"patient": "00000000-0000-4000-8000-000000000000"})

    assert refused.status_code == unknown.status_code == 400
    assert refused.json()["fields"]["patient"][0].startswith("Invalid pk")


def test_the_work_goes_on_uncounted_while_the_cache_is_away(site, issue, monkeypatch):
    def gone(*args):
        raise CacheGone("connection refused")

    monkeypatch.setattr(UserRateThrottle, "allow_request", gone)

    assert bearing(issue(site)[1]).get("/api/v1/sites/").status_code == 200


def test_who_calls_too_often_is_asked_to_wait(site, issue, monkeypatch):
    monkeypatch.setattr(UserRateThrottle, "THROTTLE_RATES", {"user": "2/min"})
    client = bearing(issue(site)[1])

    answers = [client.get("/api/v1/sites/") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["code"] == "throttled"
