"""The only settings file. Every value comes from the environment; `.env.example` lists them all.

A wrong value stops the start and is named: nothing falls back in silence.
"""

import ipaddress
import logging
import os
import secrets
import socket
import zoneinfo
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
import dj_email_url
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from environs import Env, EnvError, ValidationError, validate
from redis.connection import parse_url as redis_parts
from redis.exceptions import RedisError

from scanner.webhooks.addresses import Network, networks_of

BASE_DIR = Path(__file__).resolve().parent.parent
env = Env()
MAIL_SCHEMES = ("smtp", "subm")


def one_file_or_value(name: str) -> str:
    """The value of NAME, or what stands in the file that NAME_FILE names (a Docker or systemd secret)."""
    path = env.str(f"{name}_FILE", "")
    if not path:
        return env.str(name, "")
    try:
        return (BASE_DIR / path).read_text().strip()
    except OSError as error:
        raise EnvError(f'Environment variable "{name}_FILE" invalid: cannot read {path}: {error.strerror}') from error


def known_time_zone(name: str) -> None:
    if name not in zoneinfo.available_timezones():
        raise ValidationError(f"{name!r} is not a time zone; an example: Europe/Berlin")


def http_address(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise ValidationError(f"{url!r} is not an address like https://scanner.example.org")


def address_or_file(text: str) -> None:
    if text and not text.startswith(("http://", "https://")) and not Path(text).is_file():
        raise ValidationError(f"{text!r} is neither an http(s) address nor a file that is there")


def file_that_is_there(path: str) -> None:
    if path and not Path(path).is_file():
        raise ValidationError(f"{path!r} is no file that is there")


def known_feeds(names: list[str]) -> None:
    if names == ["auto"]:
        return
    if unknown := [name for name in names if name not in FEED_SOURCES]:
        raise ValidationError(f"there is no feed {unknown[0]!r}; known are {', '.join(FEED_SOURCES)}, or auto alone")


def queue_name(name: str) -> None:
    if not name or any(c.isspace() or c in ",/" for c in name):
        raise ValidationError(f"{name!r} has a space, a comma or a slash, which a queue's name cannot have")


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def kept_secret_key(path: Path) -> str:
    """The key of this installation, made once: os.link makes the first of two starts win, whole."""
    try:
        return path.read_text()
    except FileNotFoundError:
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(60))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        return path.read_text()


def database(url: str, password: str) -> dict[str, Any]:
    """Django's settings for a database address; none given = SQLite in the data folder."""
    try:
        parsed = dj_database_url.parse(url or f"sqlite:///{SCANNER_DATA / 'db.sqlite3'}", conn_health_checks=True)
    except ValueError as error:  # the address may hold a password: do not repeat it
        raise EnvError('Environment variable "DATABASE_URL" invalid: Not a valid database URL.') from error
    if password:
        parsed["PASSWORD"] = password
    if parsed["ENGINE"].endswith("sqlite3"):
        parsed["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    return dict(parsed)


def networks(texts: list[str]) -> tuple[Network, ...]:
    """The private networks that webhooks may reach."""
    try:
        return networks_of(texts)
    except ValueError as error:
        raise EnvError(f'Environment variable "WEBHOOK_ALLOWED_NETWORKS" invalid: {error}') from error


def mail_server(url: str) -> dict[str, Any]:
    """Django's EMAIL_* settings for an address like smtp://user:password@host:587/?tls=True; none = no mail."""
    try:
        parsed = dj_email_url.parse(url) if url else {}
    except ValueError as error:  # the address may hold a password: do not repeat it
        raise EnvError('Environment variable "EMAIL_URL" invalid: Not a valid mail server URL.') from error
    if url and not (parsed.get("EMAIL_BACKEND") and (parsed["EMAIL_HOST"] or not url.startswith(MAIL_SCHEMES))):
        raise EnvError(
            'Environment variable "EMAIL_URL" invalid: an address is like smtp://user:password@mail.example.org:587/?tls=True'
        )
    return parsed


def left_by_up(name: str) -> str:
    """What a running `manage.py up` wrote down for the command line; nothing when none runs."""
    try:
        return (RUN_DIR / name).read_text().strip()
    except FileNotFoundError:
        return ""


def redis_address(url: str) -> str:
    """REDIS_URL, or the address of the embedded Valkey, or one where nobody answers."""
    try:
        redis_parts(url or "unix://")
    except ValueError as error:  # the address may hold a password: do not repeat it
        raise EnvError(
            'Environment variable "REDIS_URL" invalid: an address begins with redis://, rediss:// or unix://'
        ) from error
    return url or left_by_up("redis_url") or f"unix://{RUN_DIR}/nothing-is-running.sock"


try:
    # --- where things are -----------------------------------------------------------------------
    SCANNER_DATA = (BASE_DIR / env.str("SCANNER_DATA", "data")).resolve()
    SCANNER_DATA.mkdir(mode=0o700, parents=True, exist_ok=True)
    RUN_DIR = SCANNER_DATA / "run"  # what only a running `manage.py up` needs

    HOST = env.str("HOST", "127.0.0.1")
    PORT = env.int("PORT", 8000, validate=validate.Range(0, 65535))
    PUBLIC_URL = env.str("PUBLIC_URL", "", validate=lambda url: http_address(url) if url else None).rstrip("/")
    TRUST_PROXY = env.bool("TRUST_PROXY", False)
    extra_hosts: list[str] = env.list("ALLOWED_HOSTS", [])

    # --- the subject ----------------------------------------------------------------------------
    SCAN_HOST = env.str("SCAN_HOST", socket.gethostname(), validate=queue_name)
    SCAN_TIME_LIMIT = env.int("SCAN_TIME_LIMIT", 1800, validate=validate.Range(min=5))  # seconds
    SCAN_QUEUE_LIMIT = env.int("SCAN_QUEUE_LIMIT", 900, validate=validate.Range(min=10))  # seconds
    SCAN_REFRESH = env.bool("SCAN_REFRESH", True)
    METADATA_MAX_AGE_DAYS = env.int("METADATA_MAX_AGE_DAYS", 7, validate=validate.Range(min=1))
    SECURITY_TARGET_HOURS = env.int("SECURITY_TARGET_HOURS", 48, validate=validate.Range(min=1))
    AUDIT_DAYS = env.int("AUDIT_DAYS", 730, validate=validate.Range(min=30))
    ARCH_TRACKER = env.str("ARCH_TRACKER", "", validate=address_or_file)  # package_managers.arch_tracker reads it, too

    # --- vulnerabilities ------------------------------------------------------------------------
    FEED_SOURCES = {  # where a feed is read from instead of its publisher's address
        "debian": env.str("FEED_DEBIAN", "", validate=address_or_file),
        "ubuntu": env.str("FEED_UBUNTU", "", validate=address_or_file),
        "alma": env.str("FEED_ALMA", "", validate=address_or_file),
        "rocky": env.str("FEED_ROCKY", "", validate=address_or_file),
        "redhat": env.str("FEED_REDHAT", "", validate=address_or_file),
        "suse": env.str("FEED_SUSE", "", validate=address_or_file),
        "arch": ARCH_TRACKER,
        "kev": env.str("FEED_KEV", "", validate=address_or_file),
        "epss": env.str("FEED_EPSS", "", validate=address_or_file),
    }
    FEEDS: list[str] = env.list("FEEDS", ["auto"], validate=known_feeds)  # auto: those that some host needs

    # --- webhooks -------------------------------------------------------------------------------
    WEBHOOK_ALLOWED_NETWORKS = networks(env.list("WEBHOOK_ALLOWED_NETWORKS", []))
    WEBHOOK_CA_FILE = env.str("WEBHOOK_CA_FILE", "", validate=file_that_is_there)
    WEBHOOK_LOG_DAYS = env.int("WEBHOOK_LOG_DAYS", 90, validate=validate.Range(min=1))
    WEBHOOK_LOG_BODY_DAYS = env.int("WEBHOOK_LOG_BODY_DAYS", 30, validate=validate.Range(min=1))
    EMAIL_URL = one_file_or_value("EMAIL_URL")
    mail = mail_server(EMAIL_URL)
    EMAIL_FROM = DEFAULT_FROM_EMAIL = env.str("EMAIL_FROM", "package-scanner@localhost")

    # --- services -------------------------------------------------------------------------------
    DATABASE_URL = one_file_or_value("DATABASE_URL")
    DATABASES = {"default": database(DATABASE_URL, one_file_or_value("DATABASE_PASSWORD"))}
    redis_given = one_file_or_value("REDIS_URL")
    REDIS_URL = redis_address(redis_given)
    REDIS_IS_EMBEDDED = not redis_given  # then `manage.py up` starts a Valkey
    TIME_ZONE = env.str("TIME_ZONE", "UTC", validate=known_time_zone)
    LOG_LEVEL = env.str("LOG_LEVEL", "INFO", validate=validate.OneOf(["DEBUG", "INFO", "WARNING", "ERROR"]))
    DEBUG = env.bool("DEBUG", False)
    SECRET_KEY = one_file_or_value("SECRET_KEY") or kept_secret_key(SCANNER_DATA / "secret_key")
    SECRET_KEY_FALLBACKS = one_file_or_value("SECRET_KEY_FALLBACKS").split()
except EnvError as error:
    raise ImproperlyConfigured(str(error)) from error
except OSError as error:
    raise ImproperlyConfigured(
        f"the data folder {SCANNER_DATA} cannot be used ({error.strerror}): set SCANNER_DATA to a folder you can write"
    ) from error

# --- Django -------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.admin.apps.SimpleAdminConfig",  # urls.py looks for the admin's classes: commands need none of them
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "servestatic",
    "csp",
    "django_htmx",
    "channels",
    "django_celery_beat",
    "django_celery_results",
    "scanner",
    "frontend",
    "project",
]
AUTHENTICATION_BACKENDS = ["frontend.access.Backend"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "frontend.compression.Compressed",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "frontend.trouble.DatabaseAway",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "frontend.pages.everywhere",
            ]
        },
    }
]
ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]
LANGUAGE_CODE = "en"
USE_TZ = True
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "dashboard"
LOGOUT_REDIRECT_URL = "sign-in"

STATIC_URL = "static/"
STATIC_ROOT = SCANNER_DATA / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "project.static_storage.Storage"},
}

# --- who may talk to us -------------------------------------------------------------------------
public = urlsplit(PUBLIC_URL)
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", *extra_hosts]
if public.hostname:
    ALLOWED_HOSTS.append(public.hostname)
elif not is_loopback(HOST):  # somebody chose to listen for others: by the name and address they will type
    ALLOWED_HOSTS += [HOST, socket.gethostname(), socket.getfqdn()]
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if PUBLIC_URL else []
BASE_URL = PUBLIC_URL or left_by_up("address") or f"http://{f'[{HOST}]' if ':' in HOST else HOST}:{PORT}"
HTTPS = public.scheme == "https"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SESSION_COOKIE_HTTPONLY = True
SECURE_REDIRECT_EXEMPT = [r"^healthz$"]
SECURE_HSTS_SECONDS = 31536000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUST_PROXY else None
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# --- mail ---------------------------------------------------------------------------------------
EMAIL_BACKEND = mail.get("EMAIL_BACKEND", "django.core.mail.backends.dummy.EmailBackend")
EMAIL_HOST, EMAIL_PORT = mail.get("EMAIL_HOST", ""), mail.get("EMAIL_PORT", 25)
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = mail.get("EMAIL_HOST_USER", ""), mail.get("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS, EMAIL_USE_SSL = mail.get("EMAIL_USE_TLS", False), mail.get("EMAIL_USE_SSL", False)
EMAIL_FILE_PATH = mail.get("EMAIL_FILE_PATH", "")
EMAIL_TIMEOUT = 15  # seconds

# --- Celery, Channels ---------------------------------------------------------------------------
CELERY_BROKER_URL = (  # kombu has words of its own for a Unix socket
    REDIS_URL.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=", 1)
    if REDIS_URL.startswith("unix://")
    else REDIS_URL
)
CELERY_TASK_DEFAULT_QUEUE = "central"
CELERY_TASK_ROUTES = {"tasks.webhooks.*": {"queue": "webhooks"}}
CELERY_TASK_ACKS_LATE = CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# The scan itself keeps the limit and says so; these end one that could not.
CELERY_TASK_TIME_LIMIT, CELERY_TASK_SOFT_TIME_LIMIT = SCAN_TIME_LIMIT + 120, SCAN_TIME_LIMIT + 90
CELERY_TASK_TRACK_STARTED = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": SCAN_TIME_LIMIT + 330,  # a running task must never be handed out twice
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "socket_connect_timeout": 3,
    "max_retries": 0,  # of connecting in order to publish; a worker that has lost its broker tries without end
}
CELERY_TASK_PUBLISH_RETRY = False  # a request answers 503 at once; it does not wait for a broker
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 5
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = (
    "UTC"  # under another zone django-celery-beat stops dispatching; its schedules have zones of their own
)
CELERY_RESULT_BACKEND = "django-db"
CELERY_RESULT_EXPIRES = 30 * 24 * 3600
CELERY_RESULT_EXTENDED = True
CELERY_BEAT_SCHEDULER = "project.beat:Scheduler"
CELERY_BEAT_SCHEDULE = {
    "fail lost scans": {"task": "tasks.scans.fail_lost_scans", "schedule": 15.0, "options": {"expires": 15}},
    "send what is owed": {"task": "tasks.webhooks.send_pending", "schedule": 5.0, "options": {"expires": 5}},
    "tell of stale results": {"task": "tasks.webhooks.tell_stale", "schedule": 300.0, "options": {"expires": 300}},
    "refresh feeds": {
        "task": "tasks.vulnerabilities.refresh_feeds",
        "schedule": 6 * 3600.0,
        "options": {"expires": 3600},
    },
    "match what a feed's refresh overtook": {
        "task": "tasks.vulnerabilities.catch_up",
        "schedule": 300.0,
        "options": {"expires": 300},
    },
    "prune the delivery log": {"task": "tasks.webhooks.prune_log", "schedule": 86400.0, "options": {"expires": 3600}},
}
DJANGO_CELERY_BEAT_TZ_AWARE = True
CELERY_BEAT_SYNC_EVERY = 1  # save each time something was sent, not every three minutes: beat_is_alive looks at it
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        # redis-py 8 would end every socket that is idle for 5 s
        # published messages know no databases: without the number, two installations on one Redis would mix
        "CONFIG": {
            "hosts": [{"address": REDIS_URL, "socket_timeout": None}],
            "prefix": f"scanner{redis_parts(REDIS_URL).get('db', 0)}",
        },
    }
}


def tells_more_than_an_outage(record: logging.LogRecord) -> bool:
    """Of the broker's absence channels_redis writes a traceback every second; frontend.live says it in one line."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, (RedisError, OSError))


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"outage": {"()": "django.utils.log.CallbackFilter", "callback": tells_more_than_an_outage}},
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "channels_redis.pubsub": {"filters": ["outage"]},
        # these bring formats without a time
        "django.server": {"handlers": [], "propagate": True},
        "uvicorn": {"handlers": [], "propagate": True},
        "uvicorn.access": {"handlers": [], "propagate": False},  # a sign-in link belongs in no log
    },
}
