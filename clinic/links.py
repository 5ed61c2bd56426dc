"""Secret links and machine tokens: made, found, rotated, revoked."""

import base64
import hashlib
import hmac
import secrets
from datetime import datetime

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.db import models, transaction

from clinic.models import ApiToken, Link, Site


def token_of(link: Link) -> str:
    """The 256-bit secret in `link`'s address: derived, never stored, the same every time until rotated."""
    digest = hmac.new(settings.LINK_KEY.encode(), f"{link.pk}:{link.generation}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def hash_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


# Made if there is none, in one question. Nothing comes back when another sender makes it at this very moment: then the
# next question finds it.
FIND_OR_MAKE = """
  WITH made AS (
INSERT INTO clinic_link (id, site_id, purpose, about, about_id, generation, token_hash, created_at, expires_at)
VALUES (%(id)s, %(site)s, %(purpose)s, %(about)s, %(about_id)s, 1, %(token_hash)s, %(now)s, %(expires_at)s)
    ON CONFLICT (purpose, about, about_id) DO NOTHING
RETURNING *)
SELECT * FROM made
 UNION ALL
SELECT * FROM clinic_link WHERE purpose = %(purpose)s AND about = %(about)s AND about_id = %(about_id)s
"""


def link_to(row: models.Model, *, purpose: str, site: Site, expires_at: datetime | None = None) -> Link:
    """The one link of this purpose to `row`, made if there is none."""
    link = Link(site=site, purpose=purpose, about=row._meta.label, about_id=str(row.pk), expires_at=expires_at)
    terms = {
        "id": link.pk,
        "site": site.pk,
        "purpose": str(purpose),
        "about": link.about,
        "about_id": link.about_id,
        "token_hash": hash_of(token_of(link)),
        "now": link.created_at,
        "expires_at": expires_at,
    }
    found = list(Link.objects.raw(FIND_OR_MAKE, terms)) or list(Link.objects.raw(FIND_OR_MAKE, terms))
    return found[0]


def link_until(row: models.Model, *, purpose: str, site: Site, until: datetime) -> Link:
    """The one link of this purpose to `row`, which ends at `until` whatever was said before."""
    link = link_to(row, purpose=purpose, site=site, expires_at=until)
    if link.expires_at != until:
        link.expires_at = until
        link.save(update_fields=["expires_at"])
    return link


def find(token: str, *, purpose: str, at: datetime) -> Link | None:
    """The live link with this token, or None. Looked up by hash, so timing tells nothing about the token."""
    return _live(purpose, at).filter(token_hash=hash_of(token)).first()


def slot_of(link: Link) -> str:
    """Where this link's pages stand once its token has been shown: an address that opens nothing by itself."""
    digest = hmac.new(settings.LINK_KEY.encode(), f"slot:{link.pk}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest[:9]).decode()


def pass_for(link: Link, *, use: str, until: datetime) -> str:
    """A signed note that whoever bears it has shown this link's token. Only the browser keeps it, and it dies with the
    link. `use` says where it is borne: one that was made for a form is worth nothing as a cookie."""
    return _signer(use).sign_object([link.pk.hex, link.generation, int(until.timestamp())])


def borne(note: str, *, use: str, purpose: str, at: datetime) -> Link | None:
    """The live link that this pass is for, or None. The database is asked each time: a revoked link ends at once."""
    try:
        pk, generation, until = _signer(use).unsign_object(note)
    except BadSignature:
        return None
    return _live(purpose, at).filter(pk=pk, generation=generation).first() if at.timestamp() < until else None


def _live(purpose: str, at: datetime) -> models.QuerySet[Link]:
    lasting = models.Q(expires_at__isnull=True) | models.Q(expires_at__gt=at)
    return Link.objects.filter(lasting, purpose=purpose, revoked_at__isnull=True)


def _signer(use: str) -> Signer:
    return Signer(salt=f"clinic.links.pass.{use}")


@transaction.atomic
def rotate(link: Link) -> Link:
    """Give `link` a new secret; the old address answers 404 from now on."""
    link = Link.objects.select_for_update().get(pk=link.pk)
    link.generation += 1
    link.revoked_at = None
    link.token_hash = hash_of(token_of(link))
    link.save(update_fields=["generation", "revoked_at", "token_hash"])
    return link


def revoke(secret: Link | ApiToken, *, at: datetime) -> None:
    type(secret).objects.filter(pk=secret.pk, revoked_at__isnull=True).update(revoked_at=at)


def issue_token(site: Site, *, name: str, may_write: bool, expires_at: datetime, at: datetime) -> tuple[ApiToken, str]:
    """A key to the API for one system, and its secret: 256 random bits that are shown this once and never stored."""
    secret = f"pulposus_{secrets.token_urlsafe(32)}"  # a prefix, so that scanners for leaked secrets can know it
    token = ApiToken.objects.create(
        site=site,
        name=name,
        may_write=may_write,
        created_at=at,
        expires_at=expires_at,
        token_hash=hash_of(secret),
    )
    return token, secret


def find_token(secret: str, *, at: datetime) -> ApiToken | None:
    """The live token with this secret, or None."""
    live = ApiToken.objects.filter(revoked_at__isnull=True, expires_at__gt=at)
    return live.filter(token_hash=hash_of(secret)).select_related("site").first()
