"""A program at the API, logged in as a person."""

from rest_framework.test import APIClient

API = "/api/v1"


def logged_in(user):
    client = APIClient()
    client.force_login(user)
    return client


def posted(client, path, body=None, *, status=200):
    answer = client.post(f"{API}/{path}/", body or {}, format="json")
    assert answer.status_code == status, answer.content
    return answer.json()
