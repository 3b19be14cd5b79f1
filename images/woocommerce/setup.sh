#!/bin/sh
# Makes a shop that sells. Every step may run again and changes nothing that its owner decided.
set -eu
export WP_PATH=/usr/src/wordpress

wait_for_database() {
  php -r 'mysqli_report(MYSQLI_REPORT_OFF); exit(@mysqli_connect(getenv("WORDPRESS_DB_HOST"), getenv("WORDPRESS_DB_USER"), getenv("WORDPRESS_DB_PASSWORD"), getenv("WORDPRESS_DB_NAME")) ? 0 : 1);'
}
tries=0
until wait_for_database; do
  tries=$((tries + 1))
  [ "$tries" -lt 120 ] || { echo "the database did not answer for 120 s" >&2; exit 1; }
  sleep 1
done
for step in core plugin shop; do
  # Notices of WordPress and its plugins are no errors of the set-up.
  php -d error_reporting=4983 "/opt/store/$step.php"
done
