#!/bin/sh
# A streaming replica: copies the primary once, then follows it.
set -eu
data=/var/lib/postgresql/data/replica
if [ ! -f "$data/PG_VERSION" ]; then
  rm -rf "$data"
  pg_basebackup --host=postgres-primary --username=storeplatform --pgdata="$data" --wal-method=stream \
    --checkpoint=fast --create-slot --slot=replica --write-recovery-conf
fi
chmod 0700 "$data"
exec postgres -D "$data"
