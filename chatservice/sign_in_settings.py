"""The settings of signing in, and how django-allauth is set up; chatservice/settings.py applies both."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from accounts.connections import is_local_name
from chatservice.environment import Environment

__all__ = [
    "ACCOUNT_ADAPTER",
    "ACCOUNT_EMAIL_VERIFICATION",
    "ACCOUNT_LOGIN_METHODS",
    "ACCOUNT_RATE_LIMITS",
    "ACCOUNT_REAUTHENTICATION_METHODS",
    "ACCOUNT_SIGNUP_FIELDS",
    "MFA_ADAPTER",
    "MFA_ALLOW_UNVERIFIED_EMAIL",
    "MFA_FORMS",
    "MFA_RATE_LIMITS",
    "MFA_SUPPORTED_TYPES",
    "MFA_TOTP_ISSUER",
    "MFA_TOTP_TOLERANCE",
    "SIGN_IN_APPS",
    "SOCIALACCOUNT_ADAPTER",
    "SOCIALACCOUNT_EMAIL_VERIFICATION",
    "SOCIALACCOUNT_LOGIN_ON_GET",
    "SOCIALACCOUNT_STORE_TOKENS",
    "sign_in_settings",
]

# The first one comes before the others, because its templates replace theirs. Their tables are always there, so that
# turning one of the settings on needs no migration; their pages and middleware are not.
SIGN_IN_APPS = ("signin", "signin.apps.AllauthAccountConfig", "allauth.socialaccount", "allauth.mfa")
ACCOUNT_ADAPTER = "signin.adapters.AccountAdapter"
ACCOUNT_EMAIL_VERIFICATION = SOCIALACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*"]
ACCOUNT_REAUTHENTICATION_METHODS = ["mfa"]
# Theirs are counted by each process alone: accounts/password_attempts.py counts for all of them.
ACCOUNT_RATE_LIMITS = MFA_RATE_LIMITS = False
SOCIALACCOUNT_ADAPTER = "signin.adapters.SocialAdapter"
SOCIALACCOUNT_LOGIN_ON_GET = True
SOCIALACCOUNT_STORE_TOKENS = False
MFA_ADAPTER = "signin.adapters.SecondFactorAdapter"
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_FORMS = {
    "reauthenticate": "signin.forms.ConfirmForm",
    "reauthenticate_webauthn": "signin.passkeys.ConfirmPasskeyForm",
    "add_webauthn": "signin.passkeys.AddPasskeyForm",
}
MFA_SUPPORTED_TYPES = ["recovery_codes", "totp", "webauthn"]
MFA_TOTP_ISSUER = "Chat"
MFA_TOTP_TOLERANCE = 1  # codes of the half minutes before and after, because clocks differ
MAX_ISSUER_CHARS = 200  # the column that identities are found by


@dataclass(frozen=True, slots=True)
class OpenID:
    """The OpenID provider that people sign in at; without an issuer there is none."""

    issuer: str = ""
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    name: str = "single sign-on"
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    sign_up: bool = False
    link_by_email: bool = False
    groups_claim: str = "groups"
    groups: dict[str, str] = field(default_factory=dict)
    staff_groups: frozenset[str] = frozenset()
    second_factor: frozenset[str] = frozenset()
    sign_out: bool = False

    @property
    def is_on(self) -> bool:
        return bool(self.issuer)


# --- Signing in (docs/sign-in.md explains providers and second factors) --------------------------


def sign_in_settings(env: Environment) -> tuple[OpenID, bool, str]:
    """Return the OpenID provider, whether passwords sign in, and who needs a second factor."""
    # The OpenID provider that people sign in at, as its documents call it: `https://id.example.org/realms/main`. Its
    # addresses and keys are read from `/.well-known/openid-configuration` below it.
    issuer = env.str("OIDC_ISSUER", default="", url=True)
    # What the provider calls this service, and the secret that it gave it.
    client_id = env.str("OIDC_CLIENT_ID", default="")
    client_secret = env.secret("OIDC_CLIENT_SECRET")
    # What people call the provider: "Sign in with ...".
    name = env.str("OIDC_NAME", default="single sign-on")
    # What the provider is asked for, between commas; some need another one for groups.
    scopes = env.list("OIDC_SCOPES", default=["openid", "profile", "email"])
    # Whether an account is made for everybody whom the provider signs in and who has none here. Otherwise accounts are
    # linked by `manage.py link_identity`.
    sign_up = env.bool("OIDC_SIGN_UP", default=False)
    # Whether somebody without a linked account gets the one with the same e-mail address, if the provider has verified
    # it: an account then belongs to whoever receives mail there. Never an account of staff.
    link_by_email = env.bool("OIDC_LINK_BY_EMAIL", default=False)
    # Where the provider says which groups somebody is in: a claim, or the path to one, as in `realm_access.roles`.
    groups_claim = env.str("OIDC_GROUPS_CLAIM", default="groups")
    # Which of the provider's groups are groups here: `{"chat-users": "Users"}`. At each sign-in an account enters and
    # leaves these groups; others stay as they are.
    groups = env.json("OIDC_GROUPS", default={}, values=str)
    # The provider's groups whose members are staff, between commas. At each sign-in an account becomes staff, or is no
    # longer; superusers stay what they are. Without it, who is staff is decided here.
    staff_groups = env.list("OIDC_STAFF_GROUPS", default=[])
    # The methods (`amr`) by which the provider says that it has checked a second factor, as in `mfa,otp`: with one of
    # them STAFF_SECOND_FACTOR asks for none here.
    second_factor = env.list("OIDC_SECOND_FACTOR", default=[])
    # Whether signing out here also signs out at the provider.
    sign_out = env.bool("LOGOUT_AT_PROVIDER", default=False)
    # Whether people may sign in with a username and a password of this service, in the page and the admin.
    passwords = env.bool("PASSWORD_SIGN_IN", default=True)
    # Whether staff may set up a second factor (an authenticator app or a passkey), and must. Who has one is asked for
    # it at each sign-in.
    asked = env.str("STAFF_SECOND_FACTOR", default="off", choices=("off", "optional", "required"))
    if issuer and not client_id:
        env.problem("OIDC_ISSUER needs OIDC_CLIENT_ID.")
    if issuer and not is_trustworthy(issuer):
        env.problem(f"OIDC_ISSUER must start with https:// and have at most {MAX_ISSUER_CHARS} characters.")
    if not passwords and not issuer:
        env.problem("PASSWORD_SIGN_IN=false without OIDC_ISSUER: nobody could sign in.")
    if "openid" not in scopes:
        env.problem("OIDC_SCOPES must contain openid.")
    openid = OpenID(
        issuer=issuer,
        client_id=client_id,
        client_secret=client_secret,
        name=name,
        scopes=tuple(scopes),
        sign_up=sign_up,
        link_by_email=link_by_email,
        groups_claim=groups_claim,
        groups=groups,
        staff_groups=frozenset(staff_groups),
        second_factor=frozenset(second_factor),
        sign_out=sign_out,
    )
    return openid, passwords, asked


def is_trustworthy(issuer: str) -> bool:
    """Tell whether an issuer can be one: plain http is for a provider on this machine, as in tests."""
    parsed = urlsplit(issuer)
    return len(issuer) <= MAX_ISSUER_CHARS and (parsed.scheme == "https" or is_local_name(parsed.hostname or ""))
