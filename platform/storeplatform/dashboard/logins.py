"""The pages of logins beyond the password: single sign-on and the second factor."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import segno
import structlog
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.signals import user_login_failed
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods
from django_otp import login as otp_login

from storeplatform.accounts import second_factor, sso
from storeplatform.accounts.totp_keys import totp_keys
from storeplatform.actors import actor_of, user_of
from storeplatform.dashboard.forms import CodeForm
from stores.errors import SecretsUnavailableError

log = structlog.get_logger(__name__)


@never_cache
@require_GET
def sso_begin(request: HttpRequest) -> HttpResponse:
    """Send the browser to the identity provider."""
    return _with_provider(request, sso.Begin.as_view())


@never_cache
@require_GET
def sso_callback(request: HttpRequest) -> HttpResponse:
    """Let in whom the identity provider vouches for."""
    return _with_provider(request, sso.Callback.as_view())


def _with_provider(request: HttpRequest, view: Callable[[HttpRequest], HttpResponse]) -> HttpResponse:
    if not settings.OIDC_ISSUER:
        raise Http404
    try:
        return view(request)
    except sso.PROVIDER_ERRORS as error:
        log.warning("sso_failed", error=type(error).__name__, detail=str(error)[:300])
        user_login_failed.send(sender=__name__, credentials={"username": "single sign-on"}, request=request)
        messages.error(request, "Single sign-on did not work. Try again; if it stays so, tell a platform operator.")
        return redirect("dashboard:login")


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def second_factor_page(request: HttpRequest) -> HttpResponse:
    """Ask for a code of the user's authenticator app, or have one set up first."""
    form = CodeForm(request.POST or None)
    shown = {"form": form, "next": _next(request)}
    try:
        return _ask_for_code(request, form, shown)
    except SecretsUnavailableError as error:
        log.warning("second_factor_unavailable", error=str(error))
        answer = render(request, "dashboard/second_factor.html", {**shown, "error": error}, status=503)
        answer["Retry-After"] = "5"
        return answer


def _ask_for_code(request: HttpRequest, form: CodeForm, shown: dict[str, Any]) -> HttpResponse:
    user, keys = user_of(request), totp_keys()
    if request.method == "POST" and form.is_valid():
        code = form.cleaned_data["code"]
        device = second_factor.verify(user=user, code=code, keys=keys, actor=actor_of(request), now=timezone.now())
        if device is not None:
            otp_login(request, device)
            return redirect(_next(request))
        form.add_error("code", "This code is wrong or was used already. After some wrong ones, wait before the next.")
    if second_factor.device_of(user) is None:
        device = second_factor.device_to_set_up(user, keys)
        shown["key"] = base64.b32encode(device.bin_key).decode()
        shown["picture"] = segno.make(device.config_url).svg_data_uri(scale=5)
    return render(request, "dashboard/second_factor.html", shown, status=422 if form.errors else 200)


def _next(request: HttpRequest) -> str:
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    is_safe = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if is_safe else resolve_url(settings.LOGIN_REDIRECT_URL)
