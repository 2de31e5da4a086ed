"""Signing in and out, and access tokens."""

from django.contrib.auth import views as auth
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import get_random_string
from django.views.decorators.http import require_http_methods

from registry.queries import tokens as questions
from registry.queries import viewers
from registry.services import tokens as service
from registry.web.forms import TokenForm
from registry.web.pages import page
from registry.web.signing_in import limited

MADE = "form_that_made_a_token"

login = limited(
    auth.LoginView.as_view(
        template_name="registry/login.html", redirect_authenticated_user=True, extra_context={"section": "login"}
    )
)
logout = auth.LogoutView.as_view()


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@page
def tokens(request: HttpRequest) -> HttpResponse:
    """List, make and revoke one's tokens.

    A new secret is in the answer to its own form and nowhere else: not in the session, where it would lie in clear. A form
    that is sent again (a page that is reloaded) makes nothing: each carries a number of its own.
    """
    viewer = viewers.of_session(request.user if request.user.is_authenticated else None)
    user = viewers.require_user(viewer)
    form = TokenForm(user, request.POST if request.method == "POST" and "revoke" not in request.POST else None)
    if request.method == "POST" and "revoke" in request.POST:
        service.revoke(user=user, token_id=_number(request.POST["revoke"]))
        return HttpResponseRedirect(reverse("web:tokens"))
    name = secret = ""
    if form.is_bound and form.is_valid():
        once = request.POST.get("once", "")[:64]
        if once and request.session.get(MADE) == once:
            return HttpResponseRedirect(reverse("web:tokens"))
        chosen = form.cleaned_data
        name = chosen["name"]
        _, secret = service.issue(user=user, scope=chosen["scope"], name=name, expires_at=form.expires_at())
        request.session[MADE] = once
        form = TokenForm(user)
    now = timezone.now()
    rows = [
        {"pk": row.pk, "name": row.name, "prefix": row.prefix, "scope": row.scope, "expires_at": row.expires_at, "last_used_at": row.last_used_at,
         "revoked_at": row.revoked_at, "expired": row.expires_at is not None and row.expires_at <= now}
        for row in questions.of_viewer(viewer)
    ]  # fmt: skip
    context = {"section": "tokens", "tokens": rows, "form": form, "secret": secret, "secret_name": name}
    context["once"] = get_random_string(32)
    return render(request, "registry/tokens.html", context)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else 0
