#!/usr/bin/env bash
# What the tests of the WooCommerce image's files run them on: Debian's Apache, PHP, WordPress and MariaDB, installed
# where they are missing. No service is started.
set -euo pipefail
needed=(curl php-cli php-mysql php-xml php-zip libapache2-mod-php wordpress wordpress-theme-twentytwentythree
  mariadb-server-core mariadb-client)
missing=()
for package in "${needed[@]}"; do
  [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "The tests of the WooCommerce image need these Debian packages: ${missing[*]}" >&2
  exit 1
fi
# RUNLEVEL=1: packages of servers must not start them.
export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2
apt-get -o DPkg::Lock::Timeout=600 install --quiet=2 --yes --no-install-recommends "${missing[@]}"
