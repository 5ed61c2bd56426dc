"""Every setting of the service, top to bottom by concern. What differs between machines comes from the environment;
`.env.example` lists each name. A required one that is missing stops the start with a sentence saying what to do."""

import logging
import re
from datetime import time, timedelta
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
VERSION = re.findall(r"^## v(\S+)", (BASE_DIR / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[0]
env = environ.Env()
env.read_env(BASE_DIR / ".env")


def required(name: str, hint: str) -> str:
    value = env.str(name, default="")
    if not value:
        raise ImproperlyConfigured(f"{name} is not set. {hint} See .env.example.")
    return value


# --- What this installation is ---------------------------------------------------------------------------------------
DEBUG = env.bool("DEBUG", default=False)
DEMO = env.bool("DEMO", default=False)  # shows /demo/inbox/, allows placeholder instruments; never with real patients
DEMO_MAILDIR = env.str("DEMO_MAILDIR", default=str(BASE_DIR / "var" / "demo" / "mail"))
BASE_URL = env.str("BASE_URL", default="http://127.0.0.1:8000").rstrip("/")

# --- Secrets and hosts -----------------------------------------------------------------------------------------------
SECRET_KEY = required("SECRET_KEY", "Set it to a long random string, and keep it: sessions are signed with it.")
# Patients' and calendars' secret links are derived from this key; changing it breaks every link already sent.
LINK_KEY = env.str("LINK_KEY", default=SECRET_KEY)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

# --- Applications ----------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "clinic",  # ours first: our templates win over the admin's, and our pages are registered on our own admin site
    "scheduling",
    "followup",
    "clinic.apps.PulposusAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "csp",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "clinic.urls"
WSGI_APPLICATION = "clinic.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Database: PostgreSQL everywhere ---------------------------------------------------------------------------------
required("DATABASE_URL", "Set it to postgres://user:password@host:5432/pulposus.")
DATABASES = {"default": env.db_url("DATABASE_URL")}
if "postgresql" not in DATABASES["default"]["ENGINE"]:
    raise ImproperlyConfigured("DATABASE_URL must name a PostgreSQL database: the booking rules live in it.")
DATABASES["default"]["CONN_MAX_AGE"] = env.int("CONN_MAX_AGE", default=60)
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
# The sweeps ask the same questions every few seconds: the server keeps the plan of what was asked five times. Behind a
# pooler that cannot carry prepared statements, set PREPARED_STATEMENTS=false.
if env.bool("PREPARED_STATEMENTS", default=True):
    DATABASES["default"]["OPTIONS"] = {"server_side_binding": True, "prepare_threshold": 5}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Time: UTC inside; the zone is a property of the site ------------------------------------------------------------
TIME_ZONE = "UTC"
USE_TZ = True

# --- Languages: the desk is English; a patient is spoken to in theirs ------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [  # each by its own name, as a patient looks for it; their words are in clinic/locale/
    ("en", "English"),
    ("es", "Español"),
    ("pt", "Português"),
    ("fr", "Français"),
    ("de", "Deutsch"),
    ("tr", "Türkçe"),
    ("ar", "العربية"),
]
USE_I18N = True
USE_THOUSAND_SEPARATOR = False

# --- Background work: the broker is a doorbell, the database is the store --------------------------------------------
REDIS_URL = env.str("REDIS_URL", default="redis://127.0.0.1:6379/0")
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}
CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_DEFAULT_QUEUE = env.str("CELERY_QUEUE", default="pulposus")  # Celery's own default name invites strangers
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 600}
CELERY_TIMEZONE = "UTC"
# Intervals only (no crontab): a sweep asks the database what is due, so a missed or doubled tick does no harm.
SWEEP_EVERY = timedelta(seconds=env.int("SWEEP_SECONDS", default=15))
CELERY_BEAT_SCHEDULE = {
    name: {"task": name, "schedule": SWEEP_EVERY, "options": {"expires": 60}}
    for name in (
        "scheduling.sweep",
        "followup.sweep",
        "clinic.deliver_messages",
    )
}
CELERY_BEAT_SCHEDULE["clinic.forget_answers"] = {
    "task": "clinic.forget_answers",
    "schedule": timedelta(hours=1),
    "options": {"expires": 60},
}
CELERY_BEAT_SCHEDULE["clinic.read_bounces"] = {
    "task": "clinic.read_bounces",
    "schedule": timedelta(minutes=1),
    "options": {"expires": 60},
}

# --- Watching: who looks whether all of this still runs (docs/running.md) --------------------------------------------
SILENT_AFTER = timedelta(seconds=env.int("SILENT_SECONDS", default=600))  # no delivery has run: red banner, 503
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")  # /metrics is told to nobody without it
OPERATOR = env.str("OPERATOR", default="")  # whom the desk says to tell, in words

# --- Messages --------------------------------------------------------------------------------------------------------
relay = env.email_url("EMAIL_URL", default="smtp://127.0.0.1:25")
vars().update(relay)  # EMAIL_HOST, EMAIL_PORT and whatever else the address says
EMAIL_BACKEND = relay["EMAIL_BACKEND"]
if EMAIL_BACKEND == "django.core.mail.backends.smtp.EmailBackend":
    EMAIL_BACKEND = "clinic.relay.EmailBackend"  # the same, but it knows how far a mail got when the line breaks
# Half of the lease is longer than this timeout and the time after which the relay drops a silent client, together.
EMAIL_TIMEOUT = env.int("EMAIL_TIMEOUT_SECONDS", default=20)
MESSAGE_LEASE = timedelta(seconds=env.int("MESSAGE_LEASE_SECONDS", default=180))
# Where a mail that nobody is sure of is looked up: clinic.ledger.PostfixLog, ProviderEvents, or NoLedger.
DELIVERY_LEDGER = env.str("DELIVERY_LEDGER", default="clinic.ledger.NoLedger")
SINK_LEDGER = env.str("SINK_LEDGER", default="")  # for clinic.ledger.SinkLedger: demo and tests only
# So many may leave in a minute, in all and to one mail domain, whatever the number of workers. 0: as many as can.
MESSAGES_PER_MINUTE = env.int("MESSAGES_PER_MINUTE", default=0)
DOMAIN_MESSAGES_PER_MINUTE = env.int("DOMAIN_MESSAGES_PER_MINUTE", default=0)
# Named places in the code where tests and fault runs kill, stop, hang or trip a process (clinic.faults).
FAULT_POINTS = env.dict("FAULT_POINTS", default={})
if (FAULT_POINTS or SINK_LEDGER) and not (DEBUG or DEMO):
    raise ImproperlyConfigured("FAULT_POINTS and SINK_LEDGER are for tests and the demo: unset them.")
# What each channel sends through, in this order. A call is made by a person.
MESSAGE_LINES = {"email": "clinic.relay.Relay", "sms": "clinic.sms.line"}
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="Pulposus <clinic@localhost>")
# SMS: none until a provider is named. "clinic.sms.Http" posts to SMS_URL; "clinic.sms.Console" only shows them.
SMS_LINE = env.str("SMS_LINE", default="clinic.sms.Nobody")
SMS_URL = env.str("SMS_URL", default="")
SMS_TOKEN = env.str("SMS_TOKEN", default="")
SMS_SENDER = env.str("SMS_SENDER", default="")
SMS_FORMAT = env.str("SMS_FORMAT", default="json")  # or form
SMS_FIELDS = env.dict(
    "SMS_FIELDS", default={"to": "to", "text": "text", "reference": "reference", "sender": "sender"}
)  # what the provider calls them; one that is left out is not sent
SMS_TIMEOUT = env.int("SMS_TIMEOUT_SECONDS", default=10)
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})  # where a secret may travel without TLS
# What came back: events of the mail provider (posted to /hooks/mail/, see clinic.hooks), and reports in a Maildir.
MAIL_PROVIDER = env.str("MAIL_PROVIDER", default="")
MAIL_PROVIDER_SECRET = env.str("MAIL_PROVIDER_SECRET", default="")
ANYMAIL = {  # who signs gives a key; the others send user:password
    "MAILGUN_WEBHOOK_SIGNING_KEY": MAIL_PROVIDER_SECRET,
    "WEBHOOK_SECRET": "" if MAIL_PROVIDER == "mailgun" else MAIL_PROVIDER_SECRET,
}
BOUNCE_MAILDIR = env.str("BOUNCE_MAILDIR", default="")
# Every kind of message a patient can get: its name, and the class that decides and renders it at the moment of sending.
MESSAGE_KINDS = {
    "appointment.booked": "scheduling.reminders.Booked",
    "appointment.moved": "scheduling.reminders.Moved",
    "appointment.cancelled": "scheduling.reminders.Cancelled",
    "appointment.preparation": "scheduling.reminders.Preparation",
    "appointment.reminder": "scheduling.reminders.Reminder",
    "appointment.unconfirmed": "scheduling.reminders.Unconfirmed",
    "waitlist.offer": "scheduling.reminders.WaitlistOffered",
    "survey.invitation": "followup.reminders.SurveyInvitation",
    "survey.reminder": "followup.reminders.SurveyReminder",
    "recovery.stage": "followup.reminders.RecoveryStage",
    "mri.due": "followup.reminders.MriDue",
}
# Who can say what will fall due, as things stand: `clinic.ahead` asks them.
MESSAGE_PLANNERS = ("scheduling.reminders.forecast", "followup.reminders.forecast")

FEED_SOURCES = ("followup.feeds.stages_of",)  # what a patient's calendar shows beside appointments

# --- People and sessions ---------------------------------------------------------------------------------------------
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}", "OPTIONS": options}
    for name, options in (
        ("UserAttributeSimilarityValidator", {}),
        ("MinimumLengthValidator", {"min_length": 12}),
        ("CommonPasswordValidator", {}),
        ("NumericPasswordValidator", {}),
    )
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
LOGIN_URL = "admin:login"
SESSION_COOKIE_AGE = 12 * 60 * 60
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "clinic.views.form_refused"

# --- Browser security ------------------------------------------------------------------------------------------------
SERVED_OVER_TLS = BASE_URL.startswith("https://")
SECURE_SSL_REDIRECT = SERVED_OVER_TLS
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SERVED_OVER_TLS
SECURE_HSTS_SECONDS = 31_536_000 if SERVED_OVER_TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SERVED_OVER_TLS
SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$", r"^healthz$", r"^metrics$"]  # probes come from inside, without TLS
if env.bool("SECURE_PROXY", default=False):  # only behind a proxy that sets and strips this header itself
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
}

# --- Static files ----------------------------------------------------------------------------------------------------
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

# --- API -------------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "clinic.api.callers.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["clinic.api.callers.StaffOrToken"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_PAGINATION_CLASS": "clinic.api.limits.Pages",
    "EXCEPTION_HANDLER": "clinic.api.refusals.explain",
    "DEFAULT_THROTTLE_CLASSES": ["clinic.api.limits.Throttle"],
    "DEFAULT_THROTTLE_RATES": {"user": "600/min"},
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Pulposus",
    "DESCRIPTION": "Scheduling and follow-up for intradiscal cell therapy.",
    "VERSION": VERSION,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["clinic.api.callers.MayReadTheSchema"],
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "clinic.api.schema.say_refusals"],
    "ENUM_NAME_OVERRIDES": {  # one name in the schema for each set of choices
        "Absent": "followup.models.survey.Absent",
        "AdverseEventOutcome": "followup.models.adverse.EventOutcome",
        "AdverseEventStatus": "followup.states.AdverseEventStatus",
        "AlertKind": "followup.models.alert.AlertKind",
        "AlertStatus": "followup.states.AlertStatus",
        "AnswerMode": "followup.models.survey.ANSWER_MODES",
        "AppointmentStatus": "scheduling.states.AppointmentStatus",
        "Causality": "followup.models.adverse.Causality",
        "EpisodeStatus": "scheduling.states.EpisodeStatus",
        "EventKind": "followup.models.event.EventKind",
        "EventStatus": "followup.states.EventStatus",
        "InputMode": "followup.models.survey.InputMode",
        "Level": "scheduling.models.mri.Level",
        "MessageStatus": "clinic.states.MessageStatus",
        "Mode": "followup.models.survey.Mode",
        "MriOrderStatus": "followup.states.OrderStatus",
        "OfferStatus": "scheduling.states.OfferStatus",
        "Outcome": "scheduling.models.evaluation.Outcome",
        "ReferralStatus": "scheduling.states.ReferralStatus",
        "ResourceKind": "scheduling.models.protocol.ResourceKind",
        "ResponseStatus": "followup.states.ResponseStatus",
        "Scale": "scheduling.models.mri.Scale",
        "StepCode": "scheduling.models.protocol.StepCode",
        "TreatmentKind": "scheduling.models.evaluation.Treatment",
        "VerdictStatus": "scheduling.states.VerdictStatus",
        "WaitlistStatus": "scheduling.states.WaitlistStatus",
    },
}


# --- Logging: no names, no answers, no links -------------------------------------------------------------------------
def hide_secret_links(record: logging.LogRecord) -> bool:
    """Whoever reads the log must not be able to open a patient's page or feed: Django logs the address of an error."""
    record.msg = re.sub(r"[A-Za-z0-9_-]{43}", "(secret)", record.getMessage())
    record.args = ()
    return True


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"no_links": {"()": "django.utils.log.CallbackFilter", "callback": hide_secret_links}},
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["no_links"]}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
}

# --- House numbers ---------------------------------------------------------------------------------------------------
HOLD_FOR = timedelta(minutes=15)  # how long a held time is kept for a patient who is deciding
WAITLIST_ANSWER_WITHIN = timedelta(hours=4)  # how long a time off the waitlist is kept for the patient it is offered to
WAITLIST_NOTICE = timedelta(hours=72)  # nobody is offered a time that begins sooner than this
WAITLIST_HOURS = (time(8), time(21))  # nobody is asked at night, on the clinic's clock: the hours to answer are running
