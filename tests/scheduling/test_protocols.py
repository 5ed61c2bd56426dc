import pytest

from clinic.status import StepRefused
from followup.demo import walk
from scheduling import bookings, chains, protocols
from scheduling.models import CriteriaSet, Product, Protocol
from scheduling.models.product import RegulatoryBasis
from scheduling.models.protocol import Visit


@pytest.fixture
def loaded(db, at):
    return protocols.load_all(at=at)


def minutes_of_the_day(code, levels=1):
    steps = chains.chain(walk.protocol(code), visit=Visit.PROCEDURE, levels=levels)
    return sum(step.minutes for step in steps)


def test_five_protocols_are_shipped(loaded):
    shipped = set(Protocol.objects.values_list("code", "version"))

    assert shipped == {
        ("adipose-same-session", 1),
        ("bone-marrow-expanded", 1),
        ("bone-marrow-same-session", 1),
        ("disc-progenitor-allogeneic", 1),
        ("umbilical-cord-allogeneic", 1),
    }


def test_loading_again_changes_nothing(loaded, at):
    product = Product.objects.get(code="disc-progenitor-cells")
    product.post_thaw_limit_minutes = 90
    product.save()

    again = protocols.load_all(at=at)

    assert again == protocols.Loaded(0, 0, 0)
    product.refresh_from_db()
    assert product.post_thaw_limit_minutes == 90


def test_no_product_comes_with_a_post_thaw_limit(loaded):
    assert set(Product.objects.values_list("post_thaw_limit_minutes", flat=True)) == {None}


def test_the_adipose_product_comes_without_a_regulatory_basis_and_says_why(loaded):
    product = Product.objects.get(code="adipose-svf")

    assert product.regulatory_basis == RegulatoryBasis.NONE
    assert "Ninth Circuit" in product.regulatory_note


@pytest.mark.parametrize(
    ("code", "minutes"),
    [("bone-marrow-same-session", 210), ("adipose-same-session", 225), ("disc-progenitor-allogeneic", 180)],
)
def test_a_day_is_as_long_as_the_default_timeline_says(loaded, code, minutes):
    assert minutes_of_the_day(code) == minutes


def test_every_further_disc_takes_a_quarter_of_an_hour_in_the_suite(loaded):
    assert minutes_of_the_day("bone-marrow-same-session", levels=2) == 225


def test_the_same_person_harvests_and_injects(loaded):
    steps = chains.chain(walk.protocol(), visit=Visit.PROCEDURE, levels=1)

    wanted = [(step.code, need.capability) for step in steps for need in step.needs if need.role == "interventionalist"]
    assert wanted == [("harvest", "harvest"), ("injection", "inject")]


def test_the_injection_waits_no_longer_than_the_product_lasts(loaded):
    protocol = walk.protocol("disc-progenitor-allogeneic")
    protocol.product.post_thaw_limit_minutes = 45

    steps = chains.chain(protocol, visit=Visit.PROCEDURE, levels=1)

    assert [(step.code, step.gap_max) for step in steps] == [
        ("check_in", 0),
        ("thaw", 30),
        ("injection", 15),
        ("recovery", 30),
    ]


def test_a_product_that_does_not_outlast_its_own_thaw_is_refused(loaded):
    protocol = walk.protocol("disc-progenitor-allogeneic")
    protocol.product.post_thaw_limit_minutes = 20

    with pytest.raises(StepRefused, match="lasts 20 minutes after thaw starts"):
        chains.chain(protocol, visit=Visit.PROCEDURE, levels=1)


def test_a_slow_thaw_lengthens_its_step(loaded):
    protocol = walk.protocol("disc-progenitor-allogeneic")
    protocol.product.thaw_minutes = 42

    steps = chains.chain(protocol, visit=Visit.PROCEDURE, levels=1)

    assert [step.minutes for step in steps] == [30, 45, 60, 60]


def test_a_protocol_that_no_search_could_follow_is_refused(loaded):
    protocol = walk.protocol()
    protocol.steps.filter(visit=Visit.PROCEDURE, code="harvest").update(minutes=32)

    with pytest.raises(StepRefused, match="must be multiples of 5"):
        chains.check(protocol, visit=Visit.PROCEDURE)


def test_a_protocol_without_such_a_visit_says_so(loaded):
    with pytest.raises(StepRefused, match="has no Harvest day"):
        chains.check(walk.protocol(), visit=Visit.HARVEST)


def test_a_protocol_whose_criteria_are_missing_is_not_loaded(db, at, monkeypatch, tmp_path):
    Protocol.objects.all().delete()
    CriteriaSet.objects.all().delete()
    (tmp_path / "products.json").write_text((protocols.REFERENCE / "products.json").read_text())
    (tmp_path / "protocols").mkdir()
    shipped = protocols.REFERENCE / "protocols" / "bone-marrow-same-session.json"
    (tmp_path / "protocols" / shipped.name).write_text(shipped.read_text())
    monkeypatch.setattr(protocols, "REFERENCE", tmp_path)

    with pytest.raises(StepRefused, match="asks for criteria ddd-default-1, which are not loaded"):
        protocols.load_all(at=at)
    assert not Protocol.objects.exists()
    assert not CriteriaSet.objects.exists()


def test_a_product_without_a_basis_cannot_be_booked(patient, at):
    episode = walk.open_episode(patient, at=at)
    Product.objects.filter(code="bone-marrow-concentrate").update(regulatory_basis=RegulatoryBasis.NONE)

    found = bookings.find(walk_again(episode), visit=Visit.PROCEDURE, earliest=at.date(), at=at)

    assert found.options == ()
    assert found.shortage.sentence.startswith(
        "Bone-marrow aspirate concentrate has no regulatory basis and cannot be booked."
    )


def test_a_product_without_a_post_thaw_limit_cannot_be_booked(patient, at):
    episode = walk.open_episode(patient, at=at, code="disc-progenitor-allogeneic")
    Product.objects.update(post_thaw_limit_minutes=None)

    found = bookings.find(walk_again(episode), visit=Visit.PROCEDURE, earliest=at.date(), at=at)

    assert found.shortage.sentence == (
        "Disc progenitor cells has no post-thaw limit. Enter the limit of the product before booking it."
    )


def walk_again(episode):
    """The episode as the next request would read it."""
    return type(episode).objects.get(pk=episode.pk)
