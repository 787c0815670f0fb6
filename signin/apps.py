from allauth.account.apps import AccountConfig
from django.apps import AppConfig


class SigninConfig(AppConfig):
    name = "signin"
    default = True

    def ready(self) -> None:
        from signin import personal_data, second_factor, signing_out  # noqa: F401  registers the models of django-allauth

        second_factor.connect()
        signing_out.connect()


class AllauthAccountConfig(AccountConfig):  # type: ignore[misc]  # it has no types
    """Does without allauth's middleware, which would run for every request: signin/context.py applies it to pages."""

    def ready(self) -> None:
        from allauth.account import checks  # noqa: F401  registers the system checks
