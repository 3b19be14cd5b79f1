#!/bin/sh
# Runs while the image is built: the plugin, the static-image mode of WordPress, and port 8080 for an ordinary user.
set -eu
version=$1 sha256=$2 root=/usr/src/wordpress

if [ "$version" = local ]; then
  cp -R /tmp/plugin/woocommerce "$root/wp-content/plugins/woocommerce"
else
  [ -n "$sha256" ] || { echo "give WOOCOMMERCE_SHA256, the checksum of woocommerce.$version.zip" >&2; exit 1; }
  curl -fsSL "https://downloads.wordpress.org/plugin/woocommerce.$version.zip" -o /tmp/woocommerce.zip
  echo "$sha256  /tmp/woocommerce.zip" | sha256sum -c -
  php -r '$z = new ZipArchive; $z->open("/tmp/woocommerce.zip") === true || exit(1); $z->extractTo("'"$root"'/wp-content/plugins") || exit(1);'
  rm /tmp/woocommerce.zip
fi
test -f "$root/wp-content/plugins/woocommerce/woocommerce.php"
rm -rf "$root/wp-content/plugins/akismet" "$root/wp-content/plugins/hello.php"
mkdir -p "$root/wp-content/uploads"

cp -s "$root/wp-config-docker.php" "$root/wp-config.php"
sed -i "s#/var/www/html#$root#g" /etc/apache2/sites-available/*.conf
sed -i "s#<Directory /var/www/>#<Directory $root/>#" /etc/apache2/apache2.conf /etc/apache2/conf-enabled/docker-php.conf
sed -i 's/^Listen 80$/Listen 8080/' /etc/apache2/ports.conf
sed -i 's/\*:80>/*:8080>/' /etc/apache2/sites-available/000-default.conf
printf 'memory_limit=256M\n' > /usr/local/etc/php/conf.d/zz-store.ini
