"""Every setting of the service: one name here is one environment variable, or a line of `.env`.

Runs with no `.env` at all: the first start makes the secrets and the data directory (chatservice/first_run.py), and the
database is one file. Reading this file changes nothing. All invalid settings are reported together at its end;
chatservice/environment.py defines how each type is read. docs/settings.md is generated from the comments here: a
comment describes the settings right below it.
"""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path
from urllib.parse import quote

from chatservice.api_settings import REST_FRAMEWORK, spectacular_settings  # noqa: F401  the first one is a setting
from chatservice.database_config import SQLITE, database_from_url
from chatservice.environment import Environment, is_allowed_host, is_ip_address, origins_of, url_prefix_of
from chatservice.file_storage import file_storage
from chatservice.first_run import read_secrets
from chatservice.log_settings import log_settings
from chatservice.metrics_settings import metrics_settings
from chatservice.search_settings import embeddings_server, reranking_settings
from chatservice.sharing_settings import sharing_settings
from chatservice.sign_in_settings import *  # noqa: F403  how django-allauth is set up
from chatservice.trace_settings import trace_settings
from chatservice.upstream_settings import title_settings, with_openai
from chatservice.usage_settings import usage_settings
from chatservice.webhook_settings import webhook_networks

BASE_DIR = Path(__file__).resolve().parent.parent
# Settings that were renamed, former name to new: the former one works for one more release, with a warning.
RENAMED = {"RETENTION_LOOK_DAYS": "RETENTION_ACCESS_LOG_DAYS"}
env = Environment(renamed=RENAMED)
env.read_file(BASE_DIR / ".env")

# --- Where things are kept -----------------------------------------------------------------------

# The directory for the service's files: the SQLite file, generated secrets, converted models, uploaded
# files. By default `var`.
VAR_DIR = Path(env.str("VAR_DIR", default=str(BASE_DIR / "var"))).resolve()
# Where the content of files is kept: a class for Django's storage API, as those of django-storages, and its arguments
# as a JSON object (docs/files.md). By default the folder `files` in VAR_DIR.
FILE_STORAGE = env.str("FILE_STORAGE", default="")
_file_storage_options = env.json("FILE_STORAGE_OPTIONS", default={}, values=object)

# --- Secrets -------------------------------------------------------------------------------------

try:
    _secrets = read_secrets(VAR_DIR)
except OSError as _error:
    _secrets = {}
    env.problem(f"{VAR_DIR / 'secrets.env'} cannot be used ({_error.strerror}).")
# Signs sessions and cursors: at least 32 random characters. By default generated at the first start, in `secrets.env`
# of VAR_DIR.
SECRET_KEY = env.str("SECRET_KEY", default=_secrets.get("SECRET_KEY", ""))
# API keys are stored as HMAC digests under this pepper, so a stolen database reveals no usable key. By default
# generated like SECRET_KEY.
KEY_PEPPER = env.str("KEY_PEPPER", default=_secrets.get("KEY_PEPPER", ""))
SECRETS_ARE_MISSING = not (SECRET_KEY and KEY_PEPPER)
if (SECRET_KEY or _secrets) and (
    len(SECRET_KEY) < 32 or SECRET_KEY.startswith(("django-insecure-", "your_", "change"))
):
    env.problem("SECRET_KEY must be a secret of at least 32 characters, not a placeholder.")
if _secrets and not KEY_PEPPER:
    env.problem(f"KEY_PEPPER is neither set nor in {VAR_DIR / 'secrets.env'}.")

# --- Where it is reached -------------------------------------------------------------------------

# Error pages with source and settings: never turn it on where others can reach the service.
DEBUG = env.bool("DEBUG", default=False)
# The address or name of this machine that the server listens on. By default `127.0.0.1`.
HOST = env.str("HOST").strip() or "127.0.0.1"
if not (re.fullmatch(r"[\w.-]+", HOST) or is_ip_address(HOST)):
    env.problem(
        "HOST must be an address or a name of this machine, for example 127.0.0.1, without a port, quotes or brackets."
    )
# The port that the server listens on.
PORT = env.int("PORT", default=8000, minimum=1, maximum=65_535)
LOCAL_NAMES = ["localhost", "127.0.0.1", "[::1]", "testserver"]
# The names by which clients reach the service; requests for any other name, except probes, get 400 (docs/proxies.md).
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=LOCAL_NAMES)
if not all(map(is_allowed_host, ALLOWED_HOSTS)):
    env.problem(
        "ALLOWED_HOSTS takes names between commas, as in chat.example.org, .example.org, [::1] or *, without https://, "
        "ports or quotes."
    )
# The path under which a proxy serves everything, as in `/chat`; the proxy may pass it on or remove it
# (docs/proxies.md). By default the service has the whole host.
URL_PREFIX = FORCE_SCRIPT_NAME = env.parsed("URL_PREFIX", url_prefix_of, default="")
# Web pages of other origins that may call the APIs with a key, between commas: `https://app.example.org`, or `*` for
# all; never with a cookie (docs/proxies.md).
CORS_ALLOWED_ORIGINS = env.parsed("CORS_ALLOWED_ORIGINS", origins_of, default="")
# Who can reach the admin. `auto`: callers whom ANONYMOUS=auto would admit, the user that runs the service on this
# machine; `true`: everybody (best in a separate process under its own host name); `false`: nobody.
ADMIN_ENABLED: bool | str = env.str("ADMIN_ENABLED", default="auto").strip().lower()
if ADMIN_ENABLED != "auto":
    ADMIN_ENABLED = env.bool("ADMIN_ENABLED", default=True)
# How many proxies of yours are in front: exactly that many right-most hops of X-Forwarded-For are trusted.
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", default=0)
# Whether a proxy in front handles TLS: secure cookies, HSTS, redirects to https (docs/proxies.md).
HTTPS = env.bool("HTTPS", default=False)
# With HTTPS: whether requests over plain http are redirected.
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True) and HTTPS
# With HTTPS: how long browsers are told to use only https (HSTS).
_hsts_seconds = env.int("SECURE_HSTS_SECONDS", default=31_536_000, maximum=315_360_000)
SECURE_HSTS_SECONDS = _hsts_seconds if HTTPS else 0
# With HTTPS: whether HSTS covers all subdomains, and whether it asks for inclusion in browsers' preload lists. Both
# affect names that this service does not serve, and browsers remember them.
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=False) and HTTPS
SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", default=False) and HTTPS
if HTTPS:
    CSRF_TRUSTED_ORIGINS = [f"https://{host}" for host in ALLOWED_HOSTS if host != "testserver"]
    if TRUSTED_PROXIES:
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
CSRF_FAILURE_VIEW = "chatservice.views.csrf_failure"
SESSION_ENGINE = "accounts.session_store"
SESSION_COOKIE_AGE = 8 * 3600
# Cookies ignore ports: under the usual name, another application on this host would sign everybody out.
SESSION_COOKIE_NAME = "chat_session"
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = URL_PREFIX or "/"
# In the session, because the cookie of the default storage is for the whole host.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
LOGIN_URL = f"{URL_PREFIX}/login"
LOGIN_REDIRECT_URL = f"{URL_PREFIX}/"
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
APPEND_SLASH = False  # every route answers with and without the slash, because a redirect would drop the body

# --- The database --------------------------------------------------------------------------------

_default_database = f"sqlite:///{quote(str(VAR_DIR / 'chat.sqlite3'))}"
# How many connections to PostgreSQL a process keeps open, and the most it opens.
_pool = {
    "min_size": env.int("DATABASE_POOL_MIN", default=1),
    "max_size": env.int("DATABASE_POOL_MAX", default=8, minimum=1),
    "timeout": 5,
    "max_lifetime": 1800,
}
if _pool["min_size"] > _pool["max_size"]:
    env.problem("DATABASE_POOL_MIN must not be greater than DATABASE_POOL_MAX.")
# When SQLite waits for the disk: with FULL, commits survive a power cut.
_synchronous = env.str("SQLITE_SYNCHRONOUS", default="FULL", choices=("OFF", "NORMAL", "FULL", "EXTRA"))
_pragmas = (
    f"PRAGMA journal_mode=WAL; PRAGMA synchronous={_synchronous};"
    "PRAGMA foreign_keys=ON; PRAGMA secure_delete=ON; PRAGMA cache_size=-6000; PRAGMA temp_store=MEMORY;"
    # The reaper's thread checkpoints every few seconds; a commit does it only if that thread cannot keep up (64 MB).
    "PRAGMA wal_autocheckpoint=16000;"
)
# PostgreSQL, needed for more than one process, or another SQLite file: docs/configuration.md has the options. By
# default an SQLite file in VAR_DIR.
_database = env.parsed(
    "DATABASE_URL",
    partial(database_from_url, base=BASE_DIR, pool=_pool, sqlite_pragmas=_pragmas, data_directory=VAR_DIR),
    default=_default_database,
)
if _database["ENGINE"] == SQLITE and _database["NAME"] != ":memory:":
    # A file, different for each run: a second process could not see an in-memory database.
    _database["TEST"] = {"NAME": str(VAR_DIR / f"test-{os.getpid()}.sqlite3")}
DATABASES = {"default": _database}
# How long to wait for a statement if the connection goes silent (0: for ever): longer than the database's own limit of
# 10 s (docs/outages.md).
DATABASE_STATEMENT_SECONDS = env.float("DATABASE_STATEMENT_SECONDS", default=12)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# Carries wake-ups between processes. Optional: without it they poll.
REDIS_URL = env.str("REDIS_URL", default="")

# --- Applications --------------------------------------------------------------------------------

INSTALLED_APPS = [
    "chatservice.apps.ChatserviceConfig",  # before staticfiles: both have a command `runserver`
    "chatservice.apps.StaffSiteConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    *("accounts", "usage", "files", "conversations", "feedback", "sharing"),
    *("search", "completions", "imports", "webhooks", "pages", "dashboard", "backups"),
    *SIGN_IN_APPS,  # noqa: F405
]
# All of these are async; those that need a session or a form run only on pages for browsers (middleware.py).
MIDDLEWARE = [
    *(["chatservice.cors.CorsMiddleware"] if CORS_ALLOWED_ORIGINS else []),
    "chatservice.middleware.RequestMiddleware",
    "chatservice.middleware.BrowserSecurityMiddleware",
    "chatservice.middleware.StaticFilesMiddleware",
    "chatservice.middleware.BrowserSessionMiddleware",
    "chatservice.middleware.BrowserCsrfMiddleware",
    "chatservice.middleware.BrowserAuthenticationMiddleware",
    "chatservice.middleware.BrowserMessageMiddleware",
    "chatservice.middleware.BrowserClickjackingMiddleware",
]
# The first three checks do not recognise our subclasses of the security, CSRF and clickjacking middleware; the last two
# ask for HSTS on subdomains and for preloading.
SILENCED_SYSTEM_CHECKS = ["security.W001", "security.W002", "security.W003", "security.W005", "security.W021"]
ROOT_URLCONF = "chatservice.urls"
ASGI_APPLICATION = "chatservice.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = f"{URL_PREFIX}/static/"
# Served straight from the packages that ship them, so there is no collection step to forget on an upgrade.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "files": file_storage(FILE_STORAGE, _file_storage_options, VAR_DIR / "files"),
}
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

# --- Who is calling ------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
OIDC, PASSWORD_SIGN_IN, STAFF_SECOND_FACTOR = sign_in_settings(env)  # noqa: F405
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
# Who is admitted without a credential. `auto`: programs of the user that runs the service, on this machine and not
# through a proxy (docs/guests.md); `off`: nobody; `on`: everybody who can reach the port.
ANONYMOUS = env.str("ANONYMOUS", default="auto", choices=("auto", "off", "on"))
# Who may make accounts by API (`POST /users`). `local`: guests on this machine; `keys`: callers with a key or a
# session; `off`: nobody. Staff always may, in the admin and by `manage.py create_user` (docs/accounts.md).
REGISTRATION = env.str("REGISTRATION", default="local", choices=("local", "keys", "off"))
# How soon a revoked key stops working in the other processes; in the one that revoked it, it stops at once.
KEY_CACHE_SECONDS = env.float("KEY_CACHE_SECONDS", default=1.0)
# Whether staff with the permission `conversations.read_content` may read content, each time with a reason that the
# owner sees. `false`: no staff may, not even superusers, by transcript, search or export (docs/admin.md).
STAFF_CONTENT_ACCESS = env.bool("STAFF_CONTENT_ACCESS", default=True)
# How long a reason remains valid for the same conversation; every access is still recorded.
STAFF_REASON_SECONDS = env.int("STAFF_REASON_SECONDS", default=900, maximum=31_536_000)

# --- Limits (0 turns one off; docs/limits.md says who is counted) --------------------------------

# The body of a request: its size, how deeply its JSON nests, and how many keys one object has.
LIMIT_BODY_BYTES = env.int("LIMIT_BODY_BYTES", default=4_194_304)
LIMIT_JSON_DEPTH = env.int("LIMIT_JSON_DEPTH", default=32)
LIMIT_JSON_KEYS = env.int("LIMIT_JSON_KEYS", default=1_000)
# The length of a message, and of a conversation's title.
LIMIT_MESSAGE_CHARS = env.int("LIMIT_MESSAGE_CHARS", default=262_144)
LIMIT_TITLE_CHARS = env.int("LIMIT_TITLE_CHARS", default=200)
# The number of messages in one conversation, of those that wait there for the answer before them (when_busy=queue), and
# of conversations that one user opens by hand: those of stateless calls do not count.
LIMIT_MESSAGES_PER_CONVERSATION = env.int("LIMIT_MESSAGES_PER_CONVERSATION", default=10_000)
LIMIT_QUEUED_PER_CONVERSATION = env.int("LIMIT_QUEUED_PER_CONVERSATION", default=10)
LIMIT_CONVERSATIONS_PER_USER = env.int("LIMIT_CONVERSATIONS_PER_USER", default=10_000)
# How many messages one request may store, and all requests of a user in a minute, including answers (docs/storage.md).
LIMIT_NEW_MESSAGES_PER_REQUEST = env.int("LIMIT_NEW_MESSAGES_PER_REQUEST", default=2_000)
LIMIT_ROWS_PER_MINUTE = env.int("LIMIT_ROWS_PER_MINUTE", default=20_000)
# How many messages and bytes one account may store in total (docs/storage.md defines what counts).
LIMIT_MESSAGES_PER_USER = env.int("LIMIT_MESSAGES_PER_USER", default=1_000_000)
LIMIT_STORED_BYTES_PER_USER = env.int("LIMIT_STORED_BYTES_PER_USER", default=5_000_000_000)
# The size of one conversation in an imported file, which has to fit in memory.
LIMIT_IMPORT_BYTES = env.int("LIMIT_IMPORT_BYTES", default=67_108_864)
# API keys and to-dos of one user.
LIMIT_KEYS_PER_USER = env.int("LIMIT_KEYS_PER_USER", default=50)
LIMIT_TODOS_PER_USER = env.int("LIMIT_TODOS_PER_USER", default=1_000)
# The size of one file, and of what one account stores: how many files, and how many bytes, where equal content counts
# once (docs/files.md).
LIMIT_FILE_BYTES = env.int("LIMIT_FILE_BYTES", default=104_857_600)
LIMIT_FILES_PER_USER = env.int("LIMIT_FILES_PER_USER", default=100_000)
LIMIT_FILES_PER_USER_BYTES = env.int("LIMIT_FILES_PER_USER_BYTES", default=5_000_000_000)
# The body of a request with pictures and files in it; and the files that go to the model with one question.
LIMIT_CONTENT_BODY_BYTES = env.int("LIMIT_CONTENT_BODY_BYTES", default=33_554_432)
# The limits below that apply to one user or one address do not apply to guests of this machine, if ANONYMOUS is `auto`;
# those that apply to one process do.
# How many answers for one user are generated at once; a request with n=3 counts as three, here and below.
LIMIT_RUNS_PER_USER = env.int("LIMIT_RUNS_PER_USER", default=64)
# How many answers for the guests at one address are generated at once: both settings limit the same, and the smaller
# one applies.
LIMIT_RUNS_PER_GUEST = env.int("LIMIT_RUNS_PER_GUEST", default=1)
LIMIT_RUNS_PER_IP = env.int("LIMIT_RUNS_PER_IP", default=8)
# How many answers one process generates at once, for all callers.
LIMIT_RUNS_PER_PROCESS = env.int("LIMIT_RUNS_PER_PROCESS", default=1_000)
# How many calls with a long new history wait in the memory of one process, which stores them one after the other.
LIMIT_LONG_HISTORIES_PER_PROCESS = env.int("LIMIT_LONG_HISTORIES_PER_PROCESS", default=64)
# How many answers one user may start in a minute, and how many the guests at one address may.
LIMIT_RUN_STARTS_PER_MINUTE = env.int("LIMIT_RUN_STARTS_PER_MINUTE", default=600)
LIMIT_GUEST_RUN_STARTS_PER_MINUTE = env.int("LIMIT_GUEST_RUN_STARTS_PER_MINUTE", default=5)
# How many tokens the answers of one user or one guest address may take in a minute, counted as they end; 0 is any.
LIMIT_TOKENS_PER_MINUTE = env.int("LIMIT_TOKENS_PER_MINUTE", default=0)
# How many requests that start no answer one user or one guest address may send in a minute.
LIMIT_READS_PER_MINUTE = env.int("LIMIT_READS_PER_MINUTE", default=6_000)
# How many streams of answers are open in one process: for one user, for the guests at one address, for everybody.
LIMIT_STREAMS_PER_USER = env.int("LIMIT_STREAMS_PER_USER", default=128)
LIMIT_STREAMS_PER_IP = env.int("LIMIT_STREAMS_PER_IP", default=64)
LIMIT_STREAMS_PER_PROCESS = env.int("LIMIT_STREAMS_PER_PROCESS", default=2_000)
# How many websockets are open in one process, whether or not they stream anything: for one user, for the guests at one
# address, for everybody. Sockets that have not authenticated yet count for their address.
LIMIT_SOCKETS_PER_USER = env.int("LIMIT_SOCKETS_PER_USER", default=128)
LIMIT_SOCKETS_PER_IP = env.int("LIMIT_SOCKETS_PER_IP", default=100)
LIMIT_SOCKETS_PER_PROCESS = env.int("LIMIT_SOCKETS_PER_PROCESS", default=2_000)
# How many wrong keys, and how many wrong passwords, one address may send in a minute.
LIMIT_AUTH_FAILURES_PER_MINUTE = env.int("LIMIT_AUTH_FAILURES_PER_MINUTE", default=10)
# After how many consecutive wrong passwords for one account each further try must wait: 1 s, 2, 4, … at most 30.
LIMIT_PASSWORD_FAILURES = env.int("LIMIT_PASSWORD_FAILURES", default=5)
# How many accounts one user or guest address may make by API in a minute.
LIMIT_NEW_USERS_PER_MINUTE = env.int("LIMIT_NEW_USERS_PER_MINUTE", default=10)
# How many conversations the guests at one address may create by `GET` in an hour, since any program that follows links
# could do so.
LIMIT_GUEST_CREATIONS_PER_HOUR = env.int("LIMIT_GUEST_CREATIONS_PER_HOUR", default=30)
# What one websocket may send: the size of a frame, and the number of frames in a second.
LIMIT_WS_FRAME_BYTES = env.int("LIMIT_WS_FRAME_BYTES", default=4_194_304)
LIMIT_WS_FRAMES_PER_SECOND = env.int("LIMIT_WS_FRAMES_PER_SECOND", default=20)
# The length of one answer: a longer one fails, and keeps the text up to there.
LIMIT_OUTPUT_CHARS = env.int("LIMIT_OUTPUT_CHARS", default=262_144)
# The size of a request's address and headers, checked before its key is (docs/operations.md).
MAX_URL_BYTES = env.int("MAX_URL_BYTES", default=8_192)
MAX_HEADER_BYTES = env.int("MAX_HEADER_BYTES", default=16_384)
MAX_HEADERS = env.int("MAX_HEADERS", default=100)
# The bytes of all bodies that are arriving at one process, before a key is looked at: beyond, 503 and Retry-After.
MAX_ARRIVING_BYTES = env.int("MAX_ARRIVING_BYTES", default=268_435_456)
# The same for what is on disk while it arrives: of bodies beyond 1 MiB, uploads, and the files in messages.
MAX_SPOOLED_BYTES = env.int("MAX_SPOOLED_BYTES", default=4_294_967_296)
# Open connections of one process.
MAX_CONNECTIONS = env.int("MAX_CONNECTIONS", default=4_096)
# Connections that have been open for over a second without the complete headers of a request: in total, and for one
# address (not applied with TRUSTED_PROXIES, where every address is the proxy's).
MAX_INCOMPLETE_CONNECTIONS = env.int("MAX_INCOMPLETE_CONNECTIONS", default=1_000)
MAX_INCOMPLETE_CONNECTIONS_PER_IP = env.int("MAX_INCOMPLETE_CONNECTIONS_PER_IP", default=50)
# How long the headers of a request, and then its body, may take to arrive.
HEADER_SECONDS = env.float("HEADER_SECONDS", default=10)
BODY_SECONDS = env.float("BODY_SECONDS", default=60)
# How long a connection may wait for its next request. This must be longer than a proxy keeps it (nginx: 60), or the
# proxy may send a request just as the connection is closed.
KEEP_ALIVE_SECONDS = env.float("KEEP_ALIVE_SECONDS", default=75)
DATA_UPLOAD_MAX_MEMORY_SIZE = LIMIT_BODY_BYTES or None

# --- How long history is kept (0 keeps it forever) -----------------------------------------------

# Days without a new message after which an account's, and a guest's, conversation is deleted.
RETENTION_DAYS = env.days("RETENTION_DAYS", default=0)
RETENTION_GUEST_DAYS = env.days("RETENTION_GUEST_DAYS", default=30)
# Hours after which a guest's conversation without any message is deleted.
RETENTION_GUEST_EMPTY_HOURS = env.hours("RETENTION_GUEST_EMPTY_HOURS", default=24)
# Days for which the access log (which staff read what, and why) is kept: at least a year, because the database refuses
# earlier deletion.
RETENTION_ACCESS_LOG_DAYS = env.days("RETENTION_ACCESS_LOG_DAYS", default=365)

# --- Models and their servers --------------------------------------------------------------------

PLACEHOLDERS = {"your_api_key_here", "your_openai_api_key", "your_key", "changeme"}
# The key for OpenAI, or for the server at OPENAI_BASE_URL. Without either setting, the built-in offline model `echo`
# answers.
OPENAI_API_KEY = env.secret("OPENAI_API_KEY")
if OPENAI_API_KEY in PLACEHOLDERS:
    OPENAI_API_KEY = ""
    env.warn("OPENAI_API_KEY is the placeholder of an example: it is treated as not set.")
# Any server with an OpenAI-compatible API. By default https://api.openai.com/v1, if there is a key.
OPENAI_BASE_URL = env.str("OPENAI_BASE_URL", default="", url=True)
# The name and the address that OpenRouter shows for the calling application.
APP_TITLE = env.str("APP_TITLE", default="")
APP_URL = env.str("APP_URL", default="")
# More model servers by name: `{"local": {"base_url": "http://127.0.0.1:11434/v1", "models": ["llama*"]}}`. If several
# have a pattern for a model, the next one is asked when one cannot be reached, is overloaded or refuses our key. All
# options: docs/upstreams.md.
UPSTREAMS = env.json("UPSTREAMS", default={}, values=dict)
if OPENAI_API_KEY or OPENAI_BASE_URL:
    UPSTREAMS = with_openai(UPSTREAMS, OPENAI_BASE_URL, OPENAI_API_KEY)
# The upstream for models that match no pattern. By default `openai`, or `echo` if that is not configured.
DEFAULT_UPSTREAM = env.str("DEFAULT_UPSTREAM", default="openai" if "openai" in UPSTREAMS else "echo")
# The model used for the name "default". By default `gpt-4o-mini`, or `echo` if that is the default upstream.
DEFAULT_MODEL = env.str("DEFAULT_MODEL", default="echo" if DEFAULT_UPSTREAM == "echo" else "gpt-4o-mini")
# Which callers may use which models, as patterns: `{"*": ["gpt-*"], "guest": ["echo"], "staff": ["*"]}`; empty:
# everybody may use all (docs/limits.md).
MODELS_ALLOWED = env.json("MODELS_ALLOWED", default={}, values=list)
# Parameters that no request may carry, by name or with one value: `service_tier,n=2` (docs/limits.md).
FORBIDDEN_PARAMETERS = env.list("FORBIDDEN_PARAMETERS", default=[])
# How many tokens of history are sent with a question, by model pattern; `*` applies to all other models.
CONTEXT_TOKENS = env.json("CONTEXT_TOKENS", default={"*": 16_000}, values=int)
# How long an answer waits for passages quoted from other conversations; after that it is generated without them.
RECALL_SECONDS = env.float("RECALL_SECONDS", default=1.5)
# Seconds between two tokens of the built-in model `echo`.
ECHO_DELAY = env.float("ECHO_DELAY", default=0.02)
TITLE_MODEL, TITLE_SECONDS = title_settings(env)
CURRENCY, USAGE_TIME_ZONE, BUDGET_MAIL, _mail = usage_settings(env)
WEBHOOK_NETWORKS = webhook_networks(env)
SHARING, SHARE_MAX_DAYS = sharing_settings(env)
globals().update(_mail)

# --- Runs ----------------------------------------------------------------------------------------

# Whether an answer continues if its client disconnects before the end and nobody else reads it: for each API, without
# an Idempotency-Key, which continues, or the header X-On-Disconnect (docs/api/index.md).
ON_DISCONNECT = {
    "openai_v1": env.str("ON_DISCONNECT_OPENAI_V1", default="cancel", choices=("continue", "cancel")),
    "chat_v1": env.str("ON_DISCONNECT_CHAT_V1", default="continue", choices=("continue", "cancel")),
    "chat": env.str("ON_DISCONNECT_CHAT", default="continue", choices=("continue", "cancel")),
    "resources": env.str("ON_DISCONNECT_RESOURCES", default="continue", choices=("continue", "cancel")),
    "graphql": env.str("ON_DISCONNECT_GRAPHQL", default="continue", choices=("continue", "cancel")),
    "websocket": env.str("ON_DISCONNECT_WEBSOCKET", default="continue", choices=("continue", "cancel")),
}
# What becomes of calls with `"store": false`, on OpenAI's wire: `as_asked` keeps nothing of them, `always` all of it
# (docs/storage.md).
HISTORY = env.str("HISTORY", default="as_asked", choices=("as_asked", "always"))
# How long a whole answer may take, its first byte, and a silence within it; without streaming only the first applies.
RUN_SECONDS = env.seconds("RUN_SECONDS", default=600)
FIRST_BYTE_SECONDS = env.seconds("FIRST_BYTE_SECONDS", default=60)
IDLE_SECONDS = env.seconds("IDLE_SECONDS", default=45)
# A process that has not renewed its lease on an answer for LEASE_SECONDS has lost it; it renews all its leases every
# HEARTBEAT_SECONDS, which is at most a third of that.
LEASE_SECONDS = env.seconds("LEASE_SECONDS", default=10)
HEARTBEAT_SECONDS = env.seconds("HEARTBEAT_SECONDS", default=2)
if 3 * HEARTBEAT_SECONDS > LEASE_SECONDS:
    env.problem("HEARTBEAT_SECONDS must be at most a third of LEASE_SECONDS, or a late heartbeat ends running answers.")
# How often each process looks for answers whose process died.
SWEEP_SECONDS = env.seconds("SWEEP_SECONDS", default=2)
# How long answers may continue after SIGTERM (docs/operations.md).
DRAIN_SECONDS = env.float("DRAIN_SECONDS", default=30)
# The pause between two commits of the text being generated.
FLUSH_SECONDS = env.float("FLUSH_SECONDS", default=0.025)
# How many hours a stream can be resumed from its stored chunks; later it is resumed from the message's text.
CHUNK_HOURS = env.hours("CHUNK_HOURS", default=24)
# How many days the same Idempotency-Key refers to the same request.
IDEMPOTENCY_DAYS = env.days("IDEMPOTENCY_DAYS", default=7)
# The pause between two heartbeats on a stream that has nothing else to send.
SSE_HEARTBEAT_SECONDS = env.seconds("SSE_HEARTBEAT_SECONDS", default=15)
# After how long a client that reads nothing is disconnected.
SEND_SECONDS = env.seconds("SEND_SECONDS", default=60)

# --- Search --------------------------------------------------------------------------------------

# The language for removing word endings: each message's own (`auto`), one of Snowball's (`german`, …), or `none`.
SEARCH_LANGUAGE = env.str("SEARCH_LANGUAGE", default="auto")
# The model for search by meaning: `minilm-int8` (in a package, offline), `minilm` (the same in full precision),
# `onnx:PATH`, `openai:MODEL`, or the path or hub name of a sentence-transformers model (docs/search-models.md).
SEARCH_EMBEDDER = env.str("SEARCH_EMBEDDER", default="minilm-int8")
# How many numbers of a vector are kept, the first ones: for models trained for it (Matryoshka). `0`: all of them.
SEARCH_DIMENSIONS = env.int("SEARCH_DIMENSIONS", default=0)
# Text in front of a search, and of a passage. By default the model's own; `none`: nothing (docs/search-models.md).
SEARCH_QUERY_PROMPT = env.str("SEARCH_QUERY_PROMPT", default="")
SEARCH_PASSAGE_PROMPT = env.str("SEARCH_PASSAGE_PROMPT", default="")
EMBEDDINGS_BASE_URL, EMBEDDINGS_API_KEY = embeddings_server(env, OPENAI_BASE_URL, OPENAI_API_KEY)
SEARCH_RERANKER, SEARCH_RERANK_SECONDS = reranking_settings(env)
# Whether the service indexes messages in a thread of its own; otherwise run `manage.py index_messages --follow`.
SEARCH_INDEXER = env.bool("SEARCH_INDEXER", default=True)
# The memory of one process for vectors: on SQLite all of them, on PostgreSQL those of large owners (docs/search.md).
SEARCH_CACHE_MB = env.int("SEARCH_CACHE_MB", default=256)
# How many characters of what a file says are read, kept and searched: of text, PDF and Word files. `0`: files are not
# read (docs/files.md).
FILE_TEXT_CHARS = env.int("FILE_TEXT_CHARS", default=500_000)

# --- API documentation ---------------------------------------------------------------------------

# Swagger UI at /docs and the OpenAPI documents at /schema; turning it off also turns off GraphQL's introspection.
DOCS = env.bool("DOCS", default=True)
SPECTACULAR_SETTINGS = spectacular_settings(URL_PREFIX)

# --- GraphQL -------------------------------------------------------------------------------------

# Whether GraphQL allows introspection even if DOCS is off.
GRAPHQL_PUBLIC_SCHEMA = env.bool("GRAPHQL_PUBLIC_SCHEMA", default=False)
# The size of one operation: levels of nesting, aliases, tokens of its text.
GRAPHQL_DEPTH = env.int("GRAPHQL_DEPTH", default=8, minimum=1)
GRAPHQL_ALIASES = env.int("GRAPHQL_ALIASES", default=15, minimum=1)
GRAPHQL_TOKENS = env.int("GRAPHQL_TOKENS", default=1_000, minimum=1)
# How many objects one operation may ask for; lists inside lists multiply.
GRAPHQL_COST = env.int("GRAPHQL_COST", default=2_000, minimum=1)
# The most items on one page of a list.
GRAPHQL_PAGE = env.int("GRAPHQL_PAGE", default=50, minimum=1)
# How many operations may run at once on one GraphQL websocket.
GRAPHQL_SUBSCRIPTIONS = env.int("GRAPHQL_SUBSCRIPTIONS", default=10, minimum=1)
# How long a GraphQL websocket may take to send `connection_init`.
GRAPHQL_INIT_SECONDS = env.seconds("GRAPHQL_INIT_SECONDS", default=5)

REQUEST_LOG, LOGGING = log_settings(env, debug=DEBUG)
METRICS_HOST, METRICS_PORT, METRICS_TOKEN = metrics_settings(env, INSTALLED_APPS, MIDDLEWARE)
trace_settings(env, INSTALLED_APPS, MIDDLEWARE)

# --- Refuse invalid settings ----------------------------------------------------------------------

env.finish()
CONFIGURATION_WARNINGS = env.warnings
