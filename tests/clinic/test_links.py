import hashlib
from datetime import timedelta

import pytest

from clinic import links
from clinic.models import Link
from followup.demo import walk


@pytest.fixture
def patient(bare_site, at):
    return walk.register(bare_site, at=at)


@pytest.fixture
def link(patient):
    return links.link_to(patient, purpose="feed", site=patient.site)


def found(link, *, at, purpose="feed", token=None):
    return links.find(token or links.token_of(link), purpose=purpose, at=at)


def test_a_link_is_found_by_its_token_and_only_the_hash_is_kept(link, at):
    token = links.token_of(link)

    assert found(link, at=at) == link
    assert link.token_hash == hashlib.sha256(token.encode()).hexdigest()
    assert token not in str(Link.objects.values().get())


def test_a_token_is_256_bits_that_fit_into_an_address(link):
    token = links.token_of(link)

    assert len(token) == 43
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_asking_twice_gives_the_same_link(patient, link):
    again = links.link_to(patient, purpose="feed", site=patient.site)

    assert (again, links.token_of(again)) == (link, links.token_of(link))


def test_two_people_and_two_purposes_have_links_of_their_own(patient, link, at):
    namesake = walk.register(patient.site, at=at, mrn="MRN-2")
    others = [
        links.link_to(patient, purpose="survey", site=patient.site),
        links.link_to(namesake, purpose="feed", site=patient.site),
    ]

    assert len({links.token_of(one) for one in (link, *others)}) == 3


def test_a_link_opens_nothing_but_its_purpose(link, at):
    assert found(link, at=at, purpose="survey") is None


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "ü" * 43, "\x00", "../../etc/passwd"])
def test_a_guess_finds_nothing(link, at, token):
    assert found(link, at=at, token=token or " ") is None


def test_another_key_makes_another_token(link, at, settings):
    settings.LINK_KEY = "another key"

    assert found(link, at=at) is None


def test_a_link_works_until_it_expires(patient, at):
    link = links.link_to(patient, purpose="survey", site=patient.site, expires_at=at)

    assert found(link, at=at - timedelta(seconds=1), purpose="survey") == link
    assert found(link, at=at, purpose="survey") is None


def test_a_rotated_link_has_a_new_address_and_the_old_one_is_dead(link, at):
    old = links.token_of(link)

    link = links.rotate(link)

    assert found(link, at=at, token=old) is None
    assert found(link, at=at) == link


def test_a_revoked_link_is_dead_until_it_is_rotated(link, at):
    links.revoke(link, at=at)
    assert found(link, at=at) is None

    assert found(links.rotate(link), at=at) == link


def test_revoking_twice_keeps_the_first_time(link, at):
    links.revoke(link, at=at)
    links.revoke(link, at=at + timedelta(days=1))

    assert Link.objects.get().revoked_at == at
