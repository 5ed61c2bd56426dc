import mailbox
import os
from email.message import EmailMessage
from pathlib import Path

import pytest

from clinic import tasks, views


@pytest.fixture(autouse=True)
def demo(settings, tmp_path):
    settings.DEMO = True
    settings.DEMO_MAILDIR = str(tmp_path / "mail")


@pytest.fixture
def box(tmp_path):
    return mailbox.Maildir(tmp_path / "mail", create=True)


def drop(box, subject="Your appointment", text="Hello", *, age=0):
    mail = EmailMessage()
    mail["To"], mail["Subject"] = "marta@example.org", subject
    mail.set_content(text)
    mail.add_alternative("<p>HTML part</p><script>alert(1)</script>", subtype="html")
    key = box.add(mail)
    os.utime(Path(box._path) / "new" / key, (1_800_000_000 - age, 1_800_000_000 - age))
    return key


def test_the_inbox_shows_every_mail_newest_first(client, box):
    drop(box, "Older", age=60)
    drop(box, "Newer")

    shown = client.get("/demo/inbox/").context["mails"]

    assert [(mail["subject"], mail["to"]) for mail in shown] == [
        ("Newer", "marta@example.org"),
        ("Older", "marta@example.org"),
    ]


def test_an_inbox_without_mail_says_what_fills_it(client):
    response = client.get("/demo/inbox/")

    assert response.status_code == 200
    assert "Book an appointment at the" in response.text


def test_a_long_inbox_says_how_many_it_does_not_show(client, box, monkeypatch):
    monkeypatch.setattr(views, "INBOX_SHOWS", 1)
    drop(box, "Older", age=60)
    drop(box, "Newer")

    assert "1 older one is not shown." in client.get("/demo/inbox/").text


def test_a_mail_is_shown_as_text_with_its_links_alive(client, box):
    key = drop(box, text="Answer here:\n\nhttp://127.0.0.1:8000/s/abc-_1/\n\nThank you")

    page = client.get(f"/demo/inbox/{key}/").text

    assert '<a href="http://127.0.0.1:8000/s/abc-_1/" rel="nofollow">http://127.0.0.1:8000/s/abc-_1/</a>' in page
    assert "HTML part" not in page


def test_what_a_mail_says_stays_text(client, box):
    key = drop(box, subject="<b>x</b>", text='<img src=x onerror=alert(1)> javascript:alert(1) "http://a.example/<i>"')

    for page in (client.get("/demo/inbox/").text, client.get(f"/demo/inbox/{key}/").text):
        assert "<b>x" not in page
        assert "<img" not in page
        assert "<i>" not in page
        assert 'href="javascript' not in page


@pytest.mark.parametrize("key", ["nobody", "..", "..%2F..%2Fetc%2Fpasswd"])
def test_a_mail_that_is_not_there_is_not_found(client, box, key):
    drop(box)

    assert client.get(f"/demo/inbox/{key}/").status_code == 404


@pytest.mark.parametrize("path", ["/demo/inbox/", "/demo/inbox/anything/"])
def test_there_is_no_inbox_outside_the_demo(client, box, settings, path):
    drop(box)
    settings.DEMO = False

    assert client.get(path).status_code == 404


def test_the_front_page_leads_to_the_desk_and_the_api(client):
    page = client.get("/").text

    assert 'href="/admin/"' in page
    assert 'href="/api/docs/"' in page


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/healthz", "/metrics", "/demo/inbox/"])
def test_the_services_own_pages_cannot_be_posted_to(client, path):
    assert client.post(path).status_code == 405


def test_a_page_that_does_not_exist_says_so_without_telling_how_we_are_built(client):
    response = client.get("/nowhere/")

    assert response.status_code == 404
    assert "There is no such page" in response.text
    assert "nowhere" not in response.text


def test_a_fault_shows_no_traceback(client, monkeypatch):
    def broken(*_):
        raise RuntimeError("secret")

    client.raise_request_exception = False
    monkeypatch.setattr(views, "_mail_files", broken)

    response = client.get("/demo/inbox/")

    assert response.status_code == 500
    assert "Something went wrong" in response.text
    assert "secret" not in response.text


@pytest.mark.django_db
def test_a_part_of_a_sweep_that_fails_is_logged_without_names_and_the_others_go_on(caplog):
    def broken(at):
        raise ValueError("Reyes")

    counts = tasks.run_parts("test.sweep", {"bad": broken, "good": lambda at: 3})

    assert counts == {"good": 3}
    assert "test.sweep: bad failed: ValueError at clinic/test_inbox.py" in caplog.text
    assert "Reyes" not in caplog.text
