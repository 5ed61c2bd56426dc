"""Every named place between the open line and the settled row, hit in every way by which a worker can end."""

import os
from urllib.parse import urlsplit

import pytest
from django.db import connection

from tests import crash_matrix

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def in_this_database(monkeypatch):
    database = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}")
    monkeypatch.setenv("DATABASE_URL", database.geturl())


def test_whatever_happens_to_a_worker_wherever_it_is_the_patient_gets_one_mail(in_this_database):
    assert crash_matrix.tried() == {"cells": 28, "times": 1, "wrong": {}}


def test_without_a_true_record_a_crash_after_the_mail_was_taken_doubles_it_so_the_matrix_can_fail(in_this_database):
    found = crash_matrix.tried(ledger="tests.crash_matrix.NeverHeardOfIt")

    assert found["wrong"] == {
        f"messages.{point} {fault}: 2 mails": 1
        for point, fault in [
            ("after_data", "hang"),
            ("after_data", "kill"),
            ("after_data", "raise"),
            ("after_data", "stop"),
            ("before_settle", "hang"),
            ("before_settle", "kill"),
            ("before_settle", "raise"),
            ("before_settle", "stop"),
        ]
    }
