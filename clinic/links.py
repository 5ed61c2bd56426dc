"""Secret links and machine tokens: made, found, rotated, revoked."""

import base64
import hashlib
import hmac
import secrets
import uuid
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


def link_to(row: models.Model, *, purpose: str, site: Site, expires_at: datetime | None = None) -> Link:
    """The one link of this purpose to `row`, made if there is none."""
    key = {"purpose": purpose, "about": row._meta.label, "about_id": str(row.pk)}
    if link := Link.objects.filter(**key).first():
        return link
    link = Link(id=uuid.uuid4(), site=site, expires_at=expires_at, **key)
    link.token_hash = hash_of(token_of(link))
    Link.objects.bulk_create([link], ignore_conflicts=True)  # two senders at once: the first one's link stands
    return Link.objects.get(**key)


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
