#!/bin/sh
# Makes a shop that sells. Every step may run again and changes nothing that its owner decided.
set -eu
export WP_PATH=/usr/src/wordpress

# Credentials that were rotated: the database's user follows the Secret, before anything logs in.
[ "${STORE_CREDENTIALS_VERSION:-1}" = 1 ] || php /opt/store/password.php

# Says why the database cannot be used: 1 not reached yet, 2 it refuses the password or knows no such user.
ask_database() {
  php -r '
    mysqli_report(MYSQLI_REPORT_OFF);
    [$host, $port] = array_pad(explode(":", getenv("WORDPRESS_DB_HOST"), 2), 2, "3306");
    $name = getenv("WORDPRESS_DB_NAME");
    if (@mysqli_connect($host, getenv("WORDPRESS_DB_USER"), getenv("WORDPRESS_DB_PASSWORD"), $name, (int) $port)) exit(0);
    echo mysqli_connect_error(), "\n";
    exit(in_array(mysqli_connect_errno(), [1044, 1045]) ? 2 : 1);'
}
tries=0 refused=0
until told=$(ask_database); do
  status=$? tries=$((tries + 1))
  # A server that starts for the first time makes its users before it listens: a refusal stays one.
  [ "$status" -ne 2 ] || refused=$((refused + 1))
  [ "$refused" -lt 5 ] || { echo "the database refuses the shop: $told" >&2; exit 1; }
  [ "$tries" -lt 120 ] || { echo "the database did not answer for 120 s: $told" >&2; exit 1; }
  sleep 1
done
for step in cache core plugin shop administrator cache; do
  # Notices of WordPress and its plugins are no errors of the set-up.
  php -d error_reporting=4983 -d auto_prepend_file=/opt/store/guard.php "/opt/store/$step.php"
done
