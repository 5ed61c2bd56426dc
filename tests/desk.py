"""Somebody at the desk: opens pages and takes steps through the admin's own addresses, at the moment the test says."""

from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse


class Desk:
    def __init__(self, user):
        self.user = user
        self.own = Client()

    @property
    def client(self):
        """Logged in, also a week later."""
        self.own.force_login(self.user)
        return self.own

    def list(self, model, **query):
        return self.client.get(address(model, "changelist"), query)

    def page(self, row):
        return self.client.get(address(row, "change", row.pk))

    def ask(self, row, step, **query):
        """The page of a step, before anything is done."""
        return self.client.get(address(row, "step", row.pk, step), query)

    def take(self, row, step, **answers):
        return self.client.post(address(row, "step", row.pk, step), answers)

    def add(self, model, **answers):
        return self.client.post(address(model, "add"), answers)


def address(model, view, *args):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{view}", args=args)


def said(response):
    """What the page that follows will tell the person about this step."""
    return [str(message) for message in get_messages(response.wsgi_request)][-1]


def refusals(response):
    return list(response.context["form"].non_field_errors())


def offered(response):
    """The steps that a row's page offers, by their labels."""
    return [step["label"] for step in response.context["possible"]]


def rows(name, filled, *, known=0):
    """Rows of a table in a form, as a browser sends them; the first `known` of them came with the page."""
    sent = {f"{name}-TOTAL_FORMS": len(filled), f"{name}-INITIAL_FORMS": known}
    for number, row in enumerate(filled):
        sent |= {f"{name}-{number}-{field}": value for field, value in row.items()}
    return sent
