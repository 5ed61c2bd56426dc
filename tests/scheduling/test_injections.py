from datetime import timedelta

import pytest

from clinic.status import StepRefused
from followup.demo import walk
from scheduling import bookings, cells, injections, preparation
from scheduling.models import Appointment, Episode, Harvest, Injection, Lot, Unit
from scheduling.models.product import Tissue
from scheduling.models.protocol import StepCode, Visit
from scheduling.states import AppointmentStatus, EpisodeStatus, HarvestStatus, LotStatus, UnitStatus, VerdictStatus

BY = walk.BY
PAIR = ("Dr Amara Okafor", "Ines Moreau")


@pytest.fixture
def episode(patient, at):
    return walk.open_episode(patient, at=at)


@pytest.fixture
def day(episode, at):
    """A same-session day: the patient is here, and the cells are in KIT-1, ready."""
    day = walk.book(episode, at=at)
    day = bookings.arrive(day, by=BY, at=day.during.lower)
    make_ready(day)
    return day


@pytest.fixture
def donor_day(patient, at):
    """An allogeneic day: the patient is here; the unit is still frozen."""
    day = walk.book(walk.open_episode(patient, at=at, code="disc-progenitor-allogeneic"), at=at)
    return bookings.arrive(day, by=BY, at=day.during.lower)


def make_ready(day, kit="KIT-1"):
    harvest = preparation.record_harvest(
        day, tissue=Tissue.BONE_MARROW, kit=kit, volume_ml=55, by=BY, at=day.during.lower
    )
    return preparation.harvest_ready(harvest, by=BY, at=day.during.lower)


def planned(day):
    return day.steps.get(code=StepCode.INJECTION).during.lower


def record(day, **given):
    start = planned(day)
    told = {
        "started_at": start,
        "ended_at": start + timedelta(minutes=40),
        "levels": [{"level": walk.LEVEL, "volume_ml": 1}],
        "needle_gauge": 22,
        "injected_by": "Dr Amara Okafor",
        "matched_by": PAIR,
        "kit": "KIT-1",
        "by": BY,
        "at": start + timedelta(hours=1),
    }
    return injections.record(day, **(told | given))


def thaw(day, *, minutes_before=30):
    at = planned(day) - timedelta(minutes=minutes_before)
    return [preparation.thaw(unit, matched_by=PAIR, by=BY, at=at) for unit in cells.of(day)]


def refused(day, why, **given):
    with pytest.raises(StepRefused, match=why) as refusal:
        record(day, **given)
    assert not Injection.objects.exists()
    assert Appointment.objects.get(pk=day.pk).status == AppointmentStatus.ARRIVED
    return refusal.value


def test_the_injection_ends_the_day_and_starts_the_follow_up(episode, day):
    injection = record(day, fluoroscopy_seconds=40, dose_area_product="1.18", air_kerma_mgy="12.5")

    episode = Episode.objects.get(pk=episode.pk)
    assert (episode.status, episode.injected, episode.anchor_at) == (
        EpisodeStatus.ACTIVE,
        True,
        injection.ended_at,
    )
    assert Appointment.objects.get(pk=day.pk).status == AppointmentStatus.FULFILLED
    assert Harvest.objects.get().status == HarvestStatus.USED
    assert list(injection.levels.values_list("level", "volume_ml")) == [(walk.LEVEL, 1)]
    assert injection.matched_by == "Dr Amara Okafor and Ines Moreau"


def test_a_late_injection_anchors_the_follow_up_at_its_actual_end(episode, day):
    late = timedelta(minutes=25)
    injection = record(day, started_at=planned(day) + late, ended_at=planned(day) + late + timedelta(minutes=30))

    assert Episode.objects.get(pk=episode.pk).anchor_at == injection.ended_at == planned(day) + timedelta(minutes=55)


def test_an_injection_is_recorded_once(day):
    record(day)

    with pytest.raises(StepRefused, match="and once"):
        record(day)


def test_nobody_is_injected_who_has_not_checked_in(episode, at):
    day = walk.book(episode, at=at)

    with pytest.raises(StepRefused, match="Only a patient who has checked in is injected"):
        record(day)


def test_an_mri_is_no_procedure_day(episode, at):
    mri = walk.book(episode, at=at, visit=Visit.MRI)

    with pytest.raises(StepRefused, match="is not a procedure day"):
        injections.record(
            mri,
            started_at=at,
            ended_at=at + timedelta(minutes=1),
            levels=[{"level": walk.LEVEL, "volume_ml": 1}],
            needle_gauge=22,
            injected_by="x",
            matched_by=PAIR,
            by=BY,
            at=at + timedelta(hours=1),
        )


def test_another_patients_kit_stops_everything(day):
    refusal = refused(day, "The kit read is KIT-2; this patient's cells are in kit KIT-1. Stop", kit="KIT-2")

    assert refusal.code == "injection_refused"


def test_a_kit_that_nobody_read_stops_everything(day):
    refused(day, "The kit read is empty", kit=" ")


def test_a_kit_that_holds_another_patients_cells_stops_everything(site, day, at):
    other = walk.book(walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at), at=at)
    make_ready(bookings.arrive(other, by=BY, at=other.during.lower), kit="KIT-2")

    refused(day, "The kit read is KIT-2; this patient's cells are in kit KIT-1. Stop", kit="KIT-2")

    assert set(Harvest.objects.values_list("status", flat=True)) == {HarvestStatus.READY}


def test_a_kit_of_an_earlier_treatment_of_the_same_patient_stops_everything(patient, day, at):
    """The same person, other cells: a kit belongs to one treatment."""
    next_day = at + timedelta(days=1)
    other = walk.book(walk.open_episode(patient, at=next_day), at=next_day, days_ahead=14)
    make_ready(bookings.arrive(other, by=BY, at=other.during.lower), kit="KIT-2")

    refused(day, "The kit read is KIT-2; this patient's cells are in kit KIT-1. Stop", kit="KIT-2")


def test_who_matched_and_when_is_kept_from_the_time_out(day):
    time_out = planned(day) - timedelta(minutes=5)

    injection = record(day, matched_at=time_out)

    assert (injection.matched_by, injection.matched_at) == ("Dr Amara Okafor and Ines Moreau", time_out)


def test_a_time_out_without_a_time_was_as_the_needle_went_in(day):
    injection = record(day)

    assert injection.matched_at == injection.started_at


@pytest.mark.parametrize("minutes", [1, -24 * 60])
def test_the_match_comes_before_the_needle_and_on_the_day(day, minutes):
    refused(day, "Patient and cells are matched on the day", matched_at=planned(day) + timedelta(minutes=minutes))


def test_cells_that_are_not_ready_are_not_injected(episode, at):
    day = walk.book(episode, at=at)
    day = bookings.arrive(day, by=BY, at=day.during.lower)
    preparation.record_harvest(day, tissue=Tissue.BONE_MARROW, kit="KIT-1", volume_ml=55, by=BY, at=day.during.lower)

    refused(day, "No cells of this patient are processed and ready")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"matched_by": ("Ines", "Ines")}, "Two different people"),
        ({"levels": []}, "injects 1 to 2 discs; 0 are given"),
        ({"levels": [{"level": "L5/S1", "volume_ml": 1}]}, "L5/S1 was not evaluated for this treatment; planned: L4/5"),
        ({"levels": [{"level": "L9", "volume_ml": 1}]}, "L9 was not evaluated"),
        ({"levels": [{"volume_ml": 1}]}, "was not evaluated"),
        ({"levels": [{"level": walk.LEVEL, "volume_ml": 1}] * 2}, "A disc is named twice"),
        ({"levels": [{"level": walk.LEVEL, "volume_ml": 0}]}, "Say how much was injected at L4/5"),
        ({"levels": [{"level": walk.LEVEL}]}, "Say how much was injected at L4/5"),
        ({"levels": [{"level": walk.LEVEL, "volume_ml": "NaN"}]}, "This cannot be recorded"),
        ({"needle_gauge": -1}, "This cannot be recorded"),
        ({"injected_by": ""}, "This cannot be recorded"),
        ({"dose_area_product": "1e99"}, "This cannot be recorded"),
    ],
)
def test_what_cannot_have_been_done_is_not_recorded(day, given, why):
    refused(day, why, **given)


def test_an_injection_ends_after_it_starts(day):
    refused(day, "must end after it starts", ended_at=planned(day))


def test_an_injection_is_recorded_after_it_ended(day):
    refused(day, "that is still to come", at=planned(day) + timedelta(minutes=39))


def test_an_injection_happens_on_its_day(day):
    later = timedelta(days=1)
    refused(
        day,
        "the injection is said to have started on Tue 12 May 2026",
        started_at=planned(day) + later,
        ended_at=planned(day) + later + timedelta(minutes=40),
        at=planned(day) + later + timedelta(hours=1),
    )


def test_a_verdict_withdrawn_meanwhile_stops_the_injection(episode, day):
    type(episode.verdict).objects.update(status=VerdictStatus.WITHDRAWN)

    refused(day, "The verdict is not signed")


# A pregnancy test before the X-rays


@pytest.fixture
def day_of_a_woman(patient, at):
    verdict = walk.sign(patient, at=at, childbearing_potential=True)
    day = walk.book(bookings.open_episode(verdict, by=BY, at=at), at=at)
    day = bookings.arrive(day, by=BY, at=day.during.lower)
    make_ready(day)
    return day


def test_without_a_pregnancy_test_nothing_is_injected(day_of_a_woman):
    refused(day_of_a_woman, "Not to be injected today. Pregnancy test")


@pytest.mark.parametrize(("result", "hours"), [("positive", 2), ("negative", 25)])
def test_a_positive_or_old_pregnancy_test_stops_the_injection(day_of_a_woman, result, hours):
    refused(
        day_of_a_woman,
        "Not to be injected today",
        day_facts={"pregnancy_test_result": result, "hours_since_test": hours},
    )


def test_a_negative_pregnancy_test_of_today_lets_it_happen(day_of_a_woman):
    injection = record(day_of_a_woman, day_facts={"pregnancy_test_result": "negative", "hours_since_test": 2})

    assert Episode.objects.get().anchor_at == injection.ended_at


def test_a_fact_that_nobody_asks_about_is_a_mistake(day):
    refused(day, "What was found on the day cannot be judged", day_facts={"pregnancy": "no"})


# Cells from a donor


def test_a_thawed_unit_is_used_up(donor_day):
    thaw(donor_day)

    record(donor_day, kit="")

    assert list(donor_day.units.values_list("status", flat=True)) == [UnitStatus.USED]


def test_a_frozen_unit_is_not_injected(donor_day):
    refused(donor_day, "1 discs take 1 units, and 0 were thawed", kit="")


def test_the_last_minute_of_the_post_thaw_limit_counts(donor_day):
    thaw(donor_day, minutes_before=60)

    injection = record(
        donor_day, started_at=planned(donor_day) + timedelta(minutes=60), ended_at=late(donor_day), at=late(donor_day)
    )

    assert injection.started_at - donor_day.units.get().thaw_started_at == timedelta(minutes=120)


def test_one_minute_past_the_post_thaw_limit_is_a_hard_stop(donor_day):
    thaw(donor_day, minutes_before=60)

    refused(
        donor_day,
        "could be used until Mon 11 May 2026, .* It must not be injected: discard it",
        started_at=planned(donor_day) + timedelta(minutes=61),
        ended_at=late(donor_day),
        at=late(donor_day),
        kit="",
    )


def late(day):
    return planned(day) + timedelta(minutes=100)


def test_an_injection_that_slipped_happens_with_another_unit_or_not_at_all(donor_day):
    (slow,) = thaw(donor_day)
    slipped = {"started_at": planned(donor_day) + timedelta(minutes=91), "ended_at": late(donor_day), "kit": ""}
    refused(donor_day, "It must not be injected: discard it", **slipped, at=late(donor_day))
    assert list(cells.past_use_by(at=slipped["started_at"])) == [slow]

    preparation.discard(slow, reason="The C-arm failed", by=BY, at=slipped["started_at"])
    (other,) = preparation.replace_unit(donor_day, by=BY, at=slipped["started_at"])
    preparation.thaw(other, matched_by=PAIR, by=BY, at=slipped["started_at"] - timedelta(minutes=30))

    assert list(cells.past_use_by(at=slipped["started_at"])) == []
    assert record(donor_day, **slipped, at=late(donor_day)).started_at == slipped["started_at"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda start: Lot.objects.update(status=LotStatus.RECALLED), "its lot is Recalled"),
        (lambda start: Lot.objects.update(expires_at=start), "its lot expired on"),
    ],
    ids=["recalled", "expired"],
)
def test_a_unit_that_went_bad_after_its_thaw_is_not_injected(donor_day, change, why):
    thaw(donor_day)
    change(planned(donor_day))

    refused(donor_day, why, kit="")


def test_a_lot_recalled_after_the_thaw_stops_the_injection_and_flags_the_day(donor_day, at):
    thaw(donor_day)

    preparation.recall_lot(donor_day.units.get().lot, reason="Sterility test", by=BY, at=at)

    refused(donor_day, "its lot is Recalled", kit="")
    assert list(cells.lacking_units()) == [donor_day]


def test_a_thaw_cannot_come_after_the_injection(donor_day):
    thaw(donor_day, minutes_before=-5)

    refused(donor_day, "was thawed after the injection started", kit="")


def test_a_disc_that_was_not_injected_leaves_its_unit_in_store(patient, at):
    verdict = walk.sign(patient, at=at, code="umbilical-cord-allogeneic", target_levels=["L4/5", "L5/S1"])
    day = walk.book(bookings.open_episode(verdict, by=BY, at=at), at=at)
    day = bookings.arrive(day, by=BY, at=day.during.lower)
    first, second = cells.of(day)
    preparation.thaw(first, matched_by=PAIR, by=BY, at=planned(day) - timedelta(minutes=30))

    record(day, kit="")

    assert Unit.objects.get(pk=first.pk).status == UnitStatus.USED
    assert Unit.objects.get(pk=second.pk).status == UnitStatus.RECEIVED


# Cells that grew for weeks


def test_expanded_cells_carry_their_kit_from_the_harvest_day(patient, at):
    episode = walk.open_episode(patient, at=at, code="bone-marrow-expanded")
    first = walk.book(episode, at=at, visit=Visit.HARVEST, days_ahead=1)
    first = bookings.arrive(first, by=BY, at=first.during.lower)
    make_ready(first, kit="KIT-7")
    bookings.fulfil(first, by=BY, at=first.during.upper)
    day = walk.book(episode, at=first.during.upper, days_ahead=21)
    day = bookings.arrive(day, by=BY, at=day.during.lower)

    refused(day, "The kit read is KIT-1; this patient's cells are in kit KIT-7", kit="KIT-1")
    record(day, kit="KIT-7")

    assert Harvest.objects.get().status == HarvestStatus.USED
