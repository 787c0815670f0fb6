"""Every setting of the service. One name here is one environment variable; `.env` is read first.

Runs with no `.env` at all: secrets are made on the first run, the database is one file.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

from chatservice.secrets_file import read_or_create

BASE_DIR = Path(__file__).resolve().parent.parent
TESTING = "pytest" in sys.modules
env = environ.Env()
if not TESTING:  # an operator's settings are none of the tests' business
    environ.Env.read_env(BASE_DIR / ".env")

# --- Where things are kept -----------------------------------------------------------------------

VAR_DIR = Path(env.str("VAR_DIR", default=str(BASE_DIR / "var"))).resolve()
VAR_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)

# --- Secrets -------------------------------------------------------------------------------------

_secrets = {} if env.str("SECRET_KEY", "") and env.str("KEY_PEPPER", "") else read_or_create(VAR_DIR / "secrets.env")
SECRET_KEY = env.str("SECRET_KEY", "") or _secrets["SECRET_KEY"]
# Keys are stored as HMAC digests under this pepper: a stolen database alone opens nothing.
KEY_PEPPER = env.str("KEY_PEPPER", "") or _secrets["KEY_PEPPER"]
if len(SECRET_KEY) < 32 or SECRET_KEY.startswith(("django-insecure-", "your_", "change")):
    raise ImproperlyConfigured("SECRET_KEY must be a secret of at least 32 characters, not a placeholder.")

# --- Where it is reached -------------------------------------------------------------------------

DEBUG = env.bool("DEBUG", default=False)
HOST = env.str("HOST", default="127.0.0.1")
PORT = env.int("PORT", default=8000)
LOCAL_NAMES = ["localhost", "127.0.0.1", "[::1]", "testserver"]
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=LOCAL_NAMES)
# Off by itself where others reach the service: turn it on in a process of its own, behind a name of its own.
ADMIN_ENABLED = env.bool("ADMIN_ENABLED", default=set(ALLOWED_HOSTS) <= set(LOCAL_NAMES))
# How many proxies of ours stand in front: only that many right-most X-Forwarded-For hops are believed.
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", default=0)
HTTPS = env.bool("HTTPS", default=False)
if HTTPS:
    SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True)
    SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31_536_000)
    SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=True)
    SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", default=True)
    CSRF_TRUSTED_ORIGINS = [f"https://{host}" for host in ALLOWED_HOSTS if host != "testserver"]
    if TRUSTED_PROXIES:
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_AGE = 8 * 3600
# Cookies know no ports: under the usual name another application on this host would sign everybody out.
SESSION_COOKIE_NAME = "chat_session"
LOGIN_URL = "/login"
LOGIN_REDIRECT_URL = "/"
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
APPEND_SLASH = False  # every route answers with and without the slash: a redirect would drop the body

# --- The database --------------------------------------------------------------------------------

_default_database = f"sqlite:///{VAR_DIR / 'chat.sqlite3'}"
_database = env.db_url_config(env.str("DATABASE_URL", "") or _default_database)
_database["CONN_MAX_AGE"] = 0
if _database["ENGINE"] == "django.db.backends.sqlite3":
    if _database["NAME"] != ":memory:":
        _database["NAME"] = str((BASE_DIR / _database["NAME"]).resolve())
        # A file, and its own for each run: an in-memory database is not there for a second process.
        _database["TEST"] = {"NAME": str(VAR_DIR / f"test-{os.getpid()}.sqlite3")}
    # WAL alone makes locking worse; together with IMMEDIATE and a timeout writers queue up and never fail.
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": (
            f"PRAGMA journal_mode=WAL; PRAGMA synchronous={env.str('SQLITE_SYNCHRONOUS', 'FULL')};"
            "PRAGMA foreign_keys=ON; PRAGMA secure_delete=ON; PRAGMA cache_size=-6000;"
        ),
    }
else:
    _database["OPTIONS"] = {
        "pool": {
            "min_size": env.int("DATABASE_POOL_MIN", 1),
            "max_size": env.int("DATABASE_POOL_MAX", 8),
            "timeout": 5,
            "max_lifetime": 1800,
        },
        "connect_timeout": 5,
        # A process that is stopped inside a transaction keeps its locks: no longer than its leases.
        "options": "-c statement_timeout=10s -c lock_timeout=3s -c idle_in_transaction_session_timeout=8s",
    }
DATABASES = {"default": _database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# A hint bus between processes and nothing more: everything holds without it.
REDIS_URL = env.str("REDIS_URL", default="")

# --- Applications --------------------------------------------------------------------------------

INSTALLED_APPS = [
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
    "accounts",
    "conversations",
    "search",
    "completions",
    "chatservice.apps.ChatserviceConfig",
]
# Async all the way: what needs a session or a form runs only where a browser is (middleware.py).
MIDDLEWARE = [
    "chatservice.middleware.RequestMiddleware",
    "chatservice.middleware.BrowserSecurityMiddleware",
    "chatservice.middleware.StaticFilesMiddleware",
    "chatservice.middleware.BrowserSessionMiddleware",
    "chatservice.middleware.BrowserCsrfMiddleware",
    "chatservice.middleware.BrowserAuthenticationMiddleware",
    "chatservice.middleware.BrowserMessageMiddleware",
    "chatservice.middleware.BrowserClickjackingMiddleware",
]
# Security, CSRF and clickjacking middleware are there as subclasses, which these checks do not see.
SILENCED_SYSTEM_CHECKS = ["security.W001", "security.W002", "security.W003"]
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
STATIC_URL = "/static/"
# Straight from the packages that ship them: nothing to collect, nothing to forget on an upgrade.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

# --- Who is calling ------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
# auto: guests only from this very machine; off: never; on: everybody who reaches the port.
ANONYMOUS = env.str("ANONYMOUS", default="auto")
# A revoked key stops working at once in the process that revoked it, within this time in the others.
KEY_CACHE_SECONDS = env.float("KEY_CACHE_SECONDS", default=1.0)
# Whether staff with the permission conversations.read_content may read what people said (each time with a reason,
# which the owner sees). false: nobody of the staff, by transcript, search or export, superusers neither.
STAFF_CONTENT_ACCESS = env.bool("STAFF_CONTENT_ACCESS", default=True)
# For so long the same reason holds for the same conversation; every look is recorded all the same.
STAFF_REASON_SECONDS = env.int("STAFF_REASON_SECONDS", default=900)

# --- Limits (0 turns one off) --------------------------------------------------------------------

LIMIT_BODY_BYTES = env.int("LIMIT_BODY_BYTES", default=1_048_576)
LIMIT_JSON_DEPTH = env.int("LIMIT_JSON_DEPTH", default=32)
LIMIT_JSON_KEYS = env.int("LIMIT_JSON_KEYS", default=1_000)
LIMIT_MESSAGE_CHARS = env.int("LIMIT_MESSAGE_CHARS", default=32_768)
LIMIT_TITLE_CHARS = env.int("LIMIT_TITLE_CHARS", default=200)
LIMIT_MESSAGES_PER_CONVERSATION = env.int("LIMIT_MESSAGES_PER_CONVERSATION", default=10_000)
LIMIT_CONVERSATIONS_PER_USER = env.int("LIMIT_CONVERSATIONS_PER_USER", default=10_000)
# One conversation of an import, in the bytes of its file: it has to be in memory as a whole.
LIMIT_IMPORT_BYTES = env.int("LIMIT_IMPORT_BYTES", default=67_108_864)
LIMIT_KEYS_PER_USER = env.int("LIMIT_KEYS_PER_USER", default=50)
LIMIT_TODOS_PER_USER = env.int("LIMIT_TODOS_PER_USER", default=1_000)
LIMIT_RUNS_PER_USER = env.int("LIMIT_RUNS_PER_USER", default=4)
LIMIT_RUNS_PER_GUEST = env.int("LIMIT_RUNS_PER_GUEST", default=1)
LIMIT_RUNS_PER_IP = env.int("LIMIT_RUNS_PER_IP", default=8)
LIMIT_RUNS_PER_PROCESS = env.int("LIMIT_RUNS_PER_PROCESS", default=64)
LIMIT_RUN_STARTS_PER_MINUTE = env.int("LIMIT_RUN_STARTS_PER_MINUTE", default=20)
LIMIT_GUEST_RUN_STARTS_PER_MINUTE = env.int("LIMIT_GUEST_RUN_STARTS_PER_MINUTE", default=5)
LIMIT_READS_PER_MINUTE = env.int("LIMIT_READS_PER_MINUTE", default=300)
LIMIT_STREAMS_PER_USER = env.int("LIMIT_STREAMS_PER_USER", default=8)
LIMIT_STREAMS_PER_IP = env.int("LIMIT_STREAMS_PER_IP", default=32)
LIMIT_STREAMS_PER_PROCESS = env.int("LIMIT_STREAMS_PER_PROCESS", default=1_000)
LIMIT_AUTH_FAILURES_PER_MINUTE = env.int("LIMIT_AUTH_FAILURES_PER_MINUTE", default=10)
LIMIT_NEW_USERS_PER_MINUTE = env.int("LIMIT_NEW_USERS_PER_MINUTE", default=10)
# Conversations that an address without a key creates by GET: whatever follows links could.
LIMIT_GUEST_CREATIONS_PER_HOUR = env.int("LIMIT_GUEST_CREATIONS_PER_HOUR", default=30)
LIMIT_WS_FRAME_BYTES = env.int("LIMIT_WS_FRAME_BYTES", default=65_536)
LIMIT_WS_FRAMES_PER_SECOND = env.int("LIMIT_WS_FRAMES_PER_SECOND", default=20)
LIMIT_OUTPUT_CHARS = env.int("LIMIT_OUTPUT_CHARS", default=262_144)
DATA_UPLOAD_MAX_MEMORY_SIZE = LIMIT_BODY_BYTES

# --- How long history is kept (0: for ever) -------------------------------------------------------

# Days without a new word after which a conversation is deleted: an account's, and a guest's.
RETENTION_DAYS = env.float("RETENTION_DAYS", default=0)
RETENTION_GUEST_DAYS = env.float("RETENTION_GUEST_DAYS", default=30)
# Guests' conversations in which nothing was ever said.
RETENTION_GUEST_EMPTY_HOURS = env.float("RETENTION_GUEST_EMPTY_HOURS", default=24)
# The log of who of the staff looked at what: a year at least, the database itself refuses less.
RETENTION_LOOK_DAYS = env.float("RETENTION_LOOK_DAYS", default=365)

# --- Models and their servers --------------------------------------------------------------------

PLACEHOLDERS = {"your_api_key_here", "your_openai_api_key", "your_key", "changeme"}
OPENAI_API_KEY = env.str("OPENAI_API_KEY", default="")
if OPENAI_API_KEY in PLACEHOLDERS:
    OPENAI_API_KEY = ""
OPENAI_BASE_URL = env.str("OPENAI_BASE_URL", default="")
# What OpenRouter shows as the calling application.
APP_TITLE = env.str("APP_TITLE", default="")
APP_URL = env.str("APP_URL", default="")
# Further upstreams by name: {"local": {"base_url": "http://127.0.0.1:11434/v1", "models": ["llama*"]}}
# Several with a pattern for the same model are asked in order of `priority`, then as listed: the next one when one
# cannot be reached, is overloaded or refuses our key, never when it may have been paid. All options:
# completions/providers/__init__.py.
UPSTREAMS = env.json("UPSTREAMS", default={})
if OPENAI_API_KEY or OPENAI_BASE_URL:
    UPSTREAMS = {
        **UPSTREAMS,
        "openai": {
            "base_url": OPENAI_BASE_URL or "https://api.openai.com/v1",
            "api_key": OPENAI_API_KEY,
            "models": [],
            **UPSTREAMS.get("openai", {}),
        },
    }
DEFAULT_UPSTREAM = env.str("DEFAULT_UPSTREAM", default="openai" if "openai" in UPSTREAMS else "echo")
DEFAULT_MODEL = env.str("DEFAULT_MODEL", default="echo" if DEFAULT_UPSTREAM == "echo" else "gpt-4o-mini")
# Tokens of history sent with a question, by model pattern; "*" is the default.
CONTEXT_TOKENS = env.json("CONTEXT_TOKENS", default={"*": 16_000})
# How long a model's answer waits for what it is to be reminded of; then it is given without.
RECALL_SECONDS = env.float("RECALL_SECONDS", default=1.5)
ECHO_DELAY = env.float("ECHO_DELAY", default=0.02)

# --- Runs ----------------------------------------------------------------------------------------

RUN_SECONDS = env.float("RUN_SECONDS", default=600)
FIRST_BYTE_SECONDS = env.float("FIRST_BYTE_SECONDS", default=60)
IDLE_SECONDS = env.float("IDLE_SECONDS", default=45)
LEASE_SECONDS = env.float("LEASE_SECONDS", default=10)
HEARTBEAT_SECONDS = env.float("HEARTBEAT_SECONDS", default=2)
SWEEP_SECONDS = env.float("SWEEP_SECONDS", default=2)
DRAIN_SECONDS = env.float("DRAIN_SECONDS", default=30)
FLUSH_SECONDS = env.float("FLUSH_SECONDS", default=0.025)
# A stream resumes from its pieces for this long, afterwards from the text of the message.
CHUNK_HOURS = env.float("CHUNK_HOURS", default=24)
# How long the same Idempotency-Key means the same request.
IDEMPOTENCY_DAYS = env.float("IDEMPOTENCY_DAYS", default=7)
SSE_HEARTBEAT_SECONDS = env.float("SSE_HEARTBEAT_SECONDS", default=15)
# A client that reads nothing for so long is cut off; it can come back with its cursor.
SEND_SECONDS = env.float("SEND_SECONDS", default=60)

# --- Search --------------------------------------------------------------------------------------

# Whose word endings are cut off: a Snowball language ("german", "french", ...), or "none".
SEARCH_LANGUAGE = env.str("SEARCH_LANGUAGE", default="english")
# What makes vectors: see search/embedders/__init__.py.
SEARCH_EMBEDDER = env.str("SEARCH_EMBEDDER", default="hashing" if TESTING else "minilm")
EMBEDDINGS_BASE_URL = env.str("EMBEDDINGS_BASE_URL", default="")
# The key of OpenAI goes to OPENAI_BASE_URL alone, never to another server.
EMBEDDINGS_API_KEY = env.str("EMBEDDINGS_API_KEY", default="" if EMBEDDINGS_BASE_URL else OPENAI_API_KEY)
EMBEDDINGS_BASE_URL = EMBEDDINGS_BASE_URL or OPENAI_BASE_URL
if OPENAI_API_KEY and not EMBEDDINGS_BASE_URL:
    EMBEDDINGS_BASE_URL = "https://api.openai.com/v1"
# Whether the service indexes in a thread of its own; many processes share the work, or leave it to
# `manage.py index_messages --follow`.
SEARCH_INDEXER = env.bool("SEARCH_INDEXER", default=True)
# Vectors that a process on SQLite holds in memory; a hundred thousand passages are 150 MB.
SEARCH_CACHE_MB = env.int("SEARCH_CACHE_MB", default=256)

# --- Wire documentation --------------------------------------------------------------------------

DOCS = env.bool("DOCS", default=True)
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.PrincipalAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["chatservice.dialects.json_body.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    # It would check one schema of everything; ours are one per dialect, checked by `manage.py check_schemas`.
    "ENABLE_DJANGO_DEPLOY_CHECK": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_ADD_EXPLICIT_BLANK_NULL_CHOICE": False,
}

# --- GraphQL -------------------------------------------------------------------------------------

# Introspection; where DOCS are on it is open anyway.
GRAPHQL_PUBLIC_SCHEMA = env.bool("GRAPHQL_PUBLIC_SCHEMA", default=False)
GRAPHQL_DEPTH = env.int("GRAPHQL_DEPTH", default=8)
GRAPHQL_ALIASES = env.int("GRAPHQL_ALIASES", default=15)
GRAPHQL_TOKENS = env.int("GRAPHQL_TOKENS", default=1_000)
# Objects that one operation may ask for, lists inside lists multiplied.
GRAPHQL_COST = env.int("GRAPHQL_COST", default=2_000)
GRAPHQL_PAGE = env.int("GRAPHQL_PAGE", default=50)
GRAPHQL_SUBSCRIPTIONS = env.int("GRAPHQL_SUBSCRIPTIONS", default=10)
GRAPHQL_INIT_SECONDS = env.float("GRAPHQL_INIT_SECONDS", default=5)

# --- Logs: never a prompt, an answer, a key or a query string ------------------------------------

LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        # These print addresses with query strings, headers or whole bodies at lower levels.
        **{
            name: {"level": "WARNING"}
            for name in ("openai", "httpx", "httpx2", "httpcore", "aiohttp", "urllib3", "daphne", "asyncio")
        },
        # At the level below: where on this machine it found the model, at every start.
        "sentence_transformers": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},
        "django.db.backends": {"level": "WARNING"},
    },
}
