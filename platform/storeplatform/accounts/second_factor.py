"""Second factor of people who log in by password: one-time codes of an authenticator app (TOTP, RFC 6238).

Whoever has set one up is asked for it at every login; ``OPERATOR_TOTP`` demands it of platform operators. A login by
single sign-on is the identity provider's affair, second factor included.
"""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY
from django.db import transaction
from django.http import HttpRequest
from django_otp.plugins.otp_totp.models import TOTPDevice
from django_otp.util import random_hex

from storeplatform.accounts.models import AuthenticatorApp, User
from storeplatform.accounts.sso import BACKEND
from storeplatform.accounts.totp_keys import TotpKeys
from stores import audit, policy
from stores.audit import Actor
from stores.audit_models import Outcome

_NAME = "authenticator app"


def device_of(user: User) -> TOTPDevice | None:
    """Return the device whose codes the user is asked for."""
    return TOTPDevice.objects.filter(user=user, confirmed=True).order_by("pk").first()


def is_demanded(user: User) -> bool:
    """Return whether a password alone does not let ``user`` in."""
    return (settings.OPERATOR_TOTP and policy.is_platform_operator(user)) or device_of(user) is not None


def is_missing(request: HttpRequest, user: User) -> bool:
    """Return whether the session of ``user`` still lacks the second factor."""
    if request.session.get(BACKEND_SESSION_KEY) == BACKEND or getattr(user, "otp_device", None):
        return False
    return is_demanded(user)


def device_to_set_up(user: User, keys: TotpKeys) -> AuthenticatorApp:
    """Return the device that the user is about to set up, the same one until a code of it was given.

    Raises:
        SecretsUnavailableError: Its key cannot be sealed or opened now.
    """
    device = TOTPDevice.objects.filter(user=user, confirmed=False).order_by("pk").first()
    if device is not None:
        return _opened(device, keys)
    sealed = keys.seal(random_hex(20), user)
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        app, _ = AuthenticatorApp.objects.get_or_create(
            user=user, confirmed=False, defaults={"name": _NAME, "sealed_key": sealed}
        )
    return _opened(app, keys)


def verify(*, user: User, code: str, keys: TotpKeys, actor: Actor, now: datetime) -> AuthenticatorApp | None:
    """Return the user's device if ``code`` is right; a device that was being set up is confirmed by it.

    Each code is taken once, and wrong ones make the next try wait; both are written down.

    Raises:
        SecretsUnavailableError: The device's key cannot be opened now.
    """
    present = device_of(user)
    wanted = _opened(present, keys) if present is not None else device_to_set_up(user, keys)
    with transaction.atomic():
        device = AuthenticatorApp.objects.select_for_update().get(pk=wanted.pk)
        device.open(wanted.bin_key)
        if not device.verify_token(code):
            audit.record(actor, "totp.refused", user, at=now, outcome=Outcome.REFUSED)
            return None
        if not device.confirmed:
            device.confirmed = True
            device.save(update_fields=["confirmed"])
            audit.record(actor, "totp.set_up", user, at=now)
    return device


def reset(*, user: User, actor: Actor, now: datetime) -> int:
    """Forget the user's devices, so that another one can be set up. Returns how many there were."""
    with transaction.atomic():
        devices = TOTPDevice.objects.select_for_update().filter(user=user)
        count = len(devices)
        devices.delete()
        audit.record(actor, "totp.reset", user, at=now, before={"devices": count})
    return count


def _opened(device: TOTPDevice, keys: TotpKeys) -> AuthenticatorApp:
    app = AuthenticatorApp.objects.filter(pk=device.pk).first() or keys.adopt(device)
    app.open(keys.open(app))
    return app
