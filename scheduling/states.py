"""What each thing on the way to the day can be, and may become: data only."""

from django.db.models import TextChoices


class ReferralStatus(TextChoices):
    RECEIVED = "received"
    ACCEPTED = "accepted"
    DECLINED = "declined"


REFERRAL_MOVES: dict[str, set[str]] = {
    ReferralStatus.RECEIVED: {ReferralStatus.ACCEPTED, ReferralStatus.DECLINED},
    ReferralStatus.ACCEPTED: {ReferralStatus.DECLINED},
    ReferralStatus.DECLINED: {ReferralStatus.ACCEPTED},
}


class VerdictStatus(TextChoices):
    DRAFT = "draft", "Waiting for a signature"
    SIGNED = "signed"
    WITHDRAWN = "withdrawn"


VERDICT_MOVES: dict[str, set[str]] = {
    VerdictStatus.DRAFT: {VerdictStatus.SIGNED, VerdictStatus.WITHDRAWN},
    VerdictStatus.SIGNED: {VerdictStatus.WITHDRAWN},
    VerdictStatus.WITHDRAWN: set(),
}


class EpisodeStatus(TextChoices):
    """FHIR CarePlan, in our words: planned = draft, active = active, cancelled = revoked."""

    PLANNED = "planned", "Planned: not yet injected"
    ACTIVE = "active", "In follow-up"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    LOST = "lost", "Lost to follow-up"


EPISODE_MOVES: dict[str, set[str]] = {
    EpisodeStatus.PLANNED: {EpisodeStatus.ACTIVE, EpisodeStatus.CANCELLED},
    EpisodeStatus.ACTIVE: {EpisodeStatus.COMPLETED, EpisodeStatus.LOST},
    EpisodeStatus.COMPLETED: set(),
    EpisodeStatus.CANCELLED: set(),
    EpisodeStatus.LOST: {EpisodeStatus.ACTIVE},
}


class AppointmentStatus(TextChoices):
    HELD = "held", "Held for a while"
    BOOKED = "booked"
    CONFIRMED = "confirmed"
    ARRIVED = "arrived"
    FULFILLED = "fulfilled"
    CANCELLED = "cancelled"
    NOSHOW = "noshow", "Did not come"


A = AppointmentStatus
APPOINTMENT_MOVES: dict[str, set[str]] = {
    A.HELD: {A.BOOKED, A.CANCELLED},
    A.BOOKED: {A.CONFIRMED, A.ARRIVED, A.CANCELLED, A.NOSHOW},
    A.CONFIRMED: {A.BOOKED, A.ARRIVED, A.CANCELLED, A.NOSHOW},  # booked again: moved, so it must be confirmed anew
    A.ARRIVED: {A.FULFILLED, A.CANCELLED},
    A.FULFILLED: set(),
    A.CANCELLED: set(),
    A.NOSHOW: set(),
}
APPOINTMENT_AHEAD = frozenset({A.HELD, A.BOOKED, A.CONFIRMED})  # may still be moved or cancelled
APPOINTMENT_LIVE = frozenset({A.HELD, A.BOOKED, A.CONFIRMED, A.ARRIVED, A.FULFILLED})  # keeps its reservations


class HarvestStatus(TextChoices):
    COLLECTED = "collected"
    READY = "ready", "Processed and ready"
    FAILED = "failed", "Failed: no cells to inject"
    USED = "used"
    DISCARDED = "discarded"


H = HarvestStatus
HARVEST_MOVES: dict[str, set[str]] = {
    H.COLLECTED: {H.READY, H.FAILED, H.DISCARDED},
    H.READY: {H.USED, H.DISCARDED},
    H.FAILED: set(),
    H.USED: set(),
    H.DISCARDED: set(),
}


class LotStatus(TextChoices):
    QUARANTINED = "quarantined"
    RELEASED = "released"
    RECALLED = "recalled"


LOT_MOVES: dict[str, set[str]] = {
    LotStatus.QUARANTINED: {LotStatus.RELEASED, LotStatus.RECALLED},
    LotStatus.RELEASED: {LotStatus.QUARANTINED, LotStatus.RECALLED},
    LotStatus.RECALLED: set(),
}


class UnitStatus(TextChoices):
    RECEIVED = "received", "In store"
    ALLOCATED = "allocated"
    THAWED = "thawed"
    USED = "used"
    DISCARDED = "discarded"


U = UnitStatus
UNIT_MOVES: dict[str, set[str]] = {
    U.RECEIVED: {U.ALLOCATED, U.DISCARDED},
    U.ALLOCATED: {U.RECEIVED, U.THAWED, U.DISCARDED},
    U.THAWED: {U.USED, U.DISCARDED},
    U.USED: set(),
    U.DISCARDED: set(),
}


class WaitlistStatus(TextChoices):
    WAITING = "waiting"
    PLACED = "placed", "Took a time that was offered"
    LEFT = "left", "Left the list"
    WITHDRAWN = "withdrawn", "Taken off the list"


W = WaitlistStatus
WAITLIST_MOVES: dict[str, set[str]] = {
    W.WAITING: {W.PLACED, W.LEFT, W.WITHDRAWN},
    W.PLACED: set(),
    W.LEFT: set(),
    W.WITHDRAWN: set(),
}


class OfferStatus(TextChoices):
    OPEN = "open", "Waiting for an answer"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    LAPSED = "lapsed", "No answer in time"
    WITHDRAWN = "withdrawn", "Taken back"
    PASSED = "passed", "Passed over"


OFFER_MOVES: dict[str, set[str]] = {
    OfferStatus.OPEN: {OfferStatus.ACCEPTED, OfferStatus.DECLINED, OfferStatus.LAPSED, OfferStatus.WITHDRAWN},
    OfferStatus.ACCEPTED: set(),
    OfferStatus.DECLINED: set(),
    OfferStatus.LAPSED: set(),
    OfferStatus.WITHDRAWN: set(),
    OfferStatus.PASSED: set(),
}
