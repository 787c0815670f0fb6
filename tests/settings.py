"""Settings of a test run: the service's own, without an operator's `.env`, and with the secrets of a first start.

Processes that tests start read the service's settings themselves, because of the last line.
"""

import os

os.environ.setdefault("ENV_FILE", os.devnull)

from chatservice.first_run import make_secrets
from chatservice.settings import *  # noqa: F403  # a test run differs in what is set below, and in nothing else
from chatservice.settings import VAR_DIR

_secrets = make_secrets(VAR_DIR)
SECRET_KEY = os.environ.get("SECRET_KEY") or _secrets["SECRET_KEY"]
KEY_PEPPER = os.environ.get("KEY_PEPPER") or _secrets["KEY_PEPPER"]
if not os.environ.get("SEARCH_EMBEDDER"):
    SEARCH_EMBEDDER = "hashing"  # the real one takes seconds to load

os.environ["DJANGO_SETTINGS_MODULE"] = "chatservice.settings"
