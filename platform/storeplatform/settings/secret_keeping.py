"""Where secrets are kept: in Vault or OpenBao; without one, sealed in PostgreSQL by Fernet keys."""

from datetime import timedelta

from storeplatform.settings.environment import derived_key, env, fernet_keys, seconds
from storeplatform.settings.vault import *  # noqa: F403

DATABASE_OWNER = env.str("DATABASE_OWNER", default="")
DATABASE_CONNECTION_TIME = seconds("DATABASE_CONNECTION_TIME", 900)
VAULT_DATABASE_ROLE = env.str("VAULT_DATABASE_ROLE", default="")
VAULT_DATABASE_MOUNT = env.str("VAULT_DATABASE_MOUNT", default="database")
VAULT_KV_PREFIX = env.str("VAULT_KV_PREFIX", default="storeplatform")
VAULT_TRANSIT_MOUNT = env.str("VAULT_TRANSIT_MOUNT", default="transit")
VAULT_TRANSIT_KEY = env.str("VAULT_TRANSIT_KEY", default="")
SECRETS_CACHE_TIME = seconds("SECRETS_CACHE_TIME", 900)
# What the beginning of a pruned audit chain is signed with.
AUDIT_KEY = env.str("AUDIT_KEY", default="") or derived_key(env.str("SECRET_KEY", default=""), purpose="audit")
AUDIT_KEEP = timedelta(days=env.int("AUDIT_KEEP_DAYS", default=0))
FERNET_KEYS = fernet_keys(env.list("FERNET_KEYS", default=[]), secret_key=env.str("SECRET_KEY", default=""))
