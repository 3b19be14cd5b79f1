{{/* What differs between the two kinds of database server. */}}
{{- define "woocommerce.databaseImage" -}}
{{- $official := dict "mariadb" (dict "repository" "mariadb" "tag" "11.4") "mysql" (dict "repository" "mysql" "tag" "8.4") }}
{{- $own := get $official .Values.database.flavor }}
{{- $given := .Values.database.image }}
{{- $image := dict "repository" ($given.repository | default $own.repository) "tag" ($given.tag | default $own.tag) "digest" $given.digest }}
{{- include "woocommerce.image" (dict "root" . "image" $image) }}
{{- end }}

{{/* TCP for MySQL: its first start serves the socket only, before its users are there. */}}
{{- define "woocommerce.databaseProbe" -}}
exec:
  {{- if eq .Values.database.flavor "mariadb" }}
  command: [healthcheck.sh, --connect, --innodb_initialized]
  {{- else }}
  command: [mysqladmin, ping, --host=127.0.0.1, --silent]
  {{- end }}
timeoutSeconds: 5
{{- end }}

{{/* What a backup tool calls in the database's container. */}}
{{- define "woocommerce.backupScript" -}}
{{- $program := .Values.database.flavor }}
{{- /* A server that keeps GTIDs refuses to load those that it has itself. */}}
{{- $dump := ternary "mariadb-dump" "mysqldump --set-gtid-purged=OFF" (eq $program "mariadb") -}}
#!/bin/sh
# backup.sh dump      writes the shop's database to standard output, consistent, while the shop goes on
# backup.sh load      reads what dump wrote from standard input
# backup.sh quiesce   stops writes and empties the server's buffers, for a snapshot of the volumes; until:
# backup.sh resume
set -eu
MYSQL_PWD=$(cat "${CREDENTIALS:-/run/store}/db-root-password")
export MYSQL_PWD
case "${1:-}" in
  dump) exec {{ $dump }} --user=root --single-transaction --quick --routines --triggers --events wordpress ;;
  load) exec {{ $program }} --user=root wordpress ;;
  quiesce) exec {{ $program }} --user=root --execute='SET GLOBAL read_only = 1; FLUSH TABLES; FLUSH LOGS' ;;
  resume) exec {{ $program }} --user=root --execute='SET GLOBAL read_only = 0' ;;
  *) echo "usage: backup.sh dump|load|quiesce|resume" >&2; exit 2 ;;
esac
{{- end }}

{{/* Runs before the image's own entrypoint. That one takes any database that it finds for a finished one: after a first
start that was cut off, the server would never get the shop's user. */}}
{{- define "woocommerce.firstStart" -}}
first-start.sh: |
  #!/bin/sh
  set -eu
  data=$(dirname "$FIRST_START_MARK")
  if [ -e "$FIRST_START_MARK" ]; then
    echo "the first start was cut off: it begins anew" >&2
    find "$data" -mindepth 1 -maxdepth 1 ! -path "$FIRST_START_MARK" ! -name lost+found -exec rm -rf {} +
  elif [ ! -e "$data/mysql" ]; then
    : > "$FIRST_START_MARK"
  fi
  exec docker-entrypoint.sh "$@"
# The entrypoint runs it last, when user and database are there.
first-start-done.sh: |
  #!/bin/sh
  rm "$FIRST_START_MARK"
{{- end }}
