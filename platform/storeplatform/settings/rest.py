"""Settings of the API; a part of ``base``."""

from storeplatform.settings.environment import seconds

IDEMPOTENCY_TIME = seconds("IDEMPOTENCY_TIME", 86400)
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "storeplatform.accounts.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": [
        "rest_framework.permissions.IsAuthenticated",
        "storeplatform.api.permissions.TokenScope",
    ],
    "DEFAULT_THROTTLE_CLASSES": ["storeplatform.limits.throttle.UserThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["storeplatform.api.parsers.BoundedJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "storeplatform.api.openapi.Schema",
    "EXCEPTION_HANDLER": "storeplatform.api.errors.problem_response",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Store Provisioning Platform",
    "DESCRIPTION": "Turns one call into a working, isolated online shop on Kubernetes.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "storeplatform.api.openapi.describe_refusals",
    ],
    "ENUM_NAME_OVERRIDES": {
        "JobState": "provisioning.models.JobState",
        "StepState": "provisioning.models.StepState",
        "StoreStatus": "stores.models.StoreStatus",
    },
}
