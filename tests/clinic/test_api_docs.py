"""The API describes itself: a valid schema, a page to read it and one to browse it, all under a strict policy."""

import re
from io import StringIO

import pytest
import yaml
from django.core.management import call_command
from rest_framework.test import APIClient


@pytest.fixture
def desk(coordinator):
    client = APIClient()
    client.force_login(coordinator)
    return client


@pytest.fixture(scope="module")
def schema():
    out = StringIO()
    call_command("spectacular", "--fail-on-warn", "--validate", stdout=out)
    return yaml.safe_load(out.getvalue())


def operations(schema):
    return [(address, method, it) for address, methods in schema["paths"].items() for method, it in methods.items()]


def test_every_operation_says_what_it_does_and_how_it_may_refuse(schema):
    silent = [(address, method) for address, method, it in operations(schema) if not it.get("description")]
    steps = {address for address, method, it in operations(schema) if method == "post" and "409" not in it["responses"]}

    assert (silent, steps) == ([], set())
    assert all({"400", "401", "403"} <= set(it["responses"]) for _, _, it in operations(schema))


def headers(it):
    return {given["name"] for given in it.get("parameters", []) if given["in"] == "header"}


def test_every_post_may_carry_a_key_and_says_what_becomes_of_it(schema):
    posts = [it for _, method, it in operations(schema) if method == "post"]
    others = [it for _, method, it in operations(schema) if method != "post"]

    assert all("Idempotency-Key" in headers(it) and "422" in it["responses"] for it in posts)
    assert not any("Idempotency-Key" in headers(it) for it in others)


def test_what_changes_an_appointment_may_be_told_which_state_was_seen(schema):
    asked = {address for address, _, it in operations(schema) if "If-Match" in headers(it)}

    assert asked == {f"/api/v1/appointments/{{id}}/{step}/" for step in ("move", "swap", "cancel")}
    assert all("412" in schema["paths"][address]["post"]["responses"] for address in asked)


def test_a_time_that_is_taken_is_described_field_by_field(schema):
    refused = schema["paths"]["/api/v1/appointments/"]["post"]["responses"]["409"]["content"]["application/json"]

    assert refused["schema"] == {"$ref": "#/components/schemas/BookingRefused"}
    fields = schema["components"]["schemas"]["BookingRefused"]["properties"]
    assert {"code", "detail", "resource", "during", "holder"} == set(fields)


def test_nothing_but_patients_can_be_edited_and_nothing_deleted(schema):
    assert {(address, method) for address, method, _ in operations(schema) if method not in ("get", "post")} == {
        ("/api/v1/patients/{id}/", "patch")
    }


def test_no_status_can_be_written(schema):
    bodies = {name: shape for name, shape in schema["components"]["schemas"].items() if name.endswith("Request")}

    assert [name for name, shape in bodies.items() if "status" in shape.get("properties", {})] == []
    assert len(bodies) > 10


@pytest.mark.parametrize("page", ["/api/docs/", "/api/v1/", "/api/v1/patients/"])
def test_a_page_keeps_to_the_policy(desk, page):
    answer = desk.get(page, headers={"Accept": "text/html"})
    html = answer.content.decode()

    assert answer.status_code == 200
    assert "script-src 'self'" in answer["Content-Security-Policy"]
    assert "unsafe" not in answer["Content-Security-Policy"]
    assert re.findall(r"<script(?![^>]*(?:src=|application/json))", html) == []
    assert re.findall(r"<style|\son\w+=", html) == []


def test_the_docs_bring_their_own_script(desk):
    script = desk.get("/api/docs/?script=")

    assert script["Content-Type"].startswith("application/javascript")
    assert "/api/schema/" in script.content.decode()


def test_the_schema_is_served_to_staff(desk):
    assert desk.get("/api/schema/?format=json").json()["info"]["title"] == "Pulposus"
