"""The pages of second factors: allauth's, with the names by which its views look for each other."""

from __future__ import annotations

from allauth.mfa.base import views as base
from allauth.mfa.recovery_codes import views as codes
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as passkeys
from django.urls import path
from django.views.generic import RedirectView

from signin.context import page
from signin.passkeys import ConfirmPasskeyView
from signin.second_factor import confirming, leave, managed

urlpatterns = [
    path("", page(managed(base.index)), name="mfa_index"),
    path("/leave", page(leave), name="second_factor_leave"),
    path("/confirm", page(confirming(base.reauthenticate)), name="mfa_reauthenticate"),
    path("/confirm/passkey", page(confirming(ConfirmPasskeyView.as_view())), name="mfa_reauthenticate_webauthn"),
    path("/app", page(managed(totp.activate_totp)), name="mfa_activate_totp"),
    path("/app/remove", page(managed(totp.deactivate_totp)), name="mfa_deactivate_totp"),
    path("/codes", page(managed(codes.view_recovery_codes)), name="mfa_view_recovery_codes"),
    path("/codes/new", page(managed(codes.generate_recovery_codes)), name="mfa_generate_recovery_codes"),
    path("/passkeys", RedirectView.as_view(pattern_name="mfa_index"), name="mfa_list_webauthn"),
    path("/passkeys/add", page(managed(passkeys.add_webauthn)), name="mfa_add_webauthn"),
    path("/passkeys/<int:pk>/remove", page(managed(passkeys.remove_webauthn)), name="mfa_remove_webauthn"),
]
