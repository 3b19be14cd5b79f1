#!/bin/sh
# Makes a shop of WordPress' official image: the plugin, WordPress' static-image mode, Apache on port 8080 for an
# ordinary user, our own files. Runs while the image is built, and in the init container of a pod that starts from the
# official image; there TARGET is an empty volume, whose parts are then mounted where they are in the image.
#   FILES                      this folder
#   PLUGIN_URL, PLUGIN_SHA256  the plugin's archive and its checksum; a URL of "local" takes FILES/plugin/woocommerce
#   CACHE_PLUGIN_URL, CACHE_PLUGIN_SHA256  the same of Redis Object Cache (FILES/plugin/redis-cache); no URL: without it
#   SOURCE                     where the official image's folders are, for a trial; else they are in /
set -eu
target=${TARGET:-} source=${SOURCE:-} archive=${TMPDIR:-/tmp}/plugin.zip cache_url=${CACHE_PLUGIN_URL:-}
site=$target/usr/src/wordpress apache=$target/etc/apache2 store=$target/opt/store

if [ -n "$target" ]; then
  # A container that was cut off is started again on the same volume.
  for part in usr etc opt; do
    [ ! -e "$target/$part" ] || { chmod -R u+w "$target/$part"; rm -rf "${target:?}/$part"; }
  done
  mkdir -p "$target/usr/src" "$target/etc"
  cp -R "$source/usr/src/wordpress" "$target/usr/src/"
  cp -R "$source/etc/apache2" "$target/etc/"
  # The image's folders are root's, and need not be writable to their owner.
  chmod -R u+w "$target/usr" "$target/etc"
fi
mkdir -p "$store"

# unpack NAME URL SHA256 FOLDER: puts a plugin into the folder
unpack() {
  if [ "$2" = local ]; then
    cp -R "$FILES/plugin/$1" "$4/$1"
    return
  fi
  [ -n "$3" ] || { echo "the checksum of $2 is not given" >&2; exit 1; }
  curl -fsSL --retry 3 "$2" -o "$archive"
  echo "$3  $archive" | sha256sum -c - >&2
  php -r '$z = new ZipArchive; $z->open($argv[1]) === true && $z->extractTo($argv[2]) || exit(1);' "$archive" "$4"
  rm "$archive"
}
unpack woocommerce "$PLUGIN_URL" "$PLUGIN_SHA256" "$site/wp-content/plugins"
test -f "$site/wp-content/plugins/woocommerce/woocommerce.php"
if [ -n "$cache_url" ]; then
  # Beside WordPress' plugins: only object-cache.php uses it, nobody has to activate it.
  unpack redis-cache "$cache_url" "${CACHE_PLUGIN_SHA256:-}" "$store"
  test -f "$store/redis-cache/includes/object-cache.php"
fi
rm -rf "$site/wp-content/plugins/akismet" "$site/wp-content/plugins/hello.php"
mkdir -p "$site/wp-content/uploads"

ln -sf wp-config-docker.php "$site/wp-config.php"
cp "$FILES"/store-* "$site/"
mkdir -p "$site/wp-content/mu-plugins"
cp "$FILES"/mu-plugins/*.php "$site/wp-content/mu-plugins/"
cp "$FILES/object-cache.php" "$site/wp-content/"
cp "$FILES"/steps/*.php "$FILES"/test.php "$FILES"/setup.sh "$store/"
chmod 755 "$store/setup.sh"

# The chart mounts its settings here, and on the plain image the folder is read-only by then.
: > "$apache/conf-enabled/zz-store.conf"
sed -i "s#/var/www/html#/usr/src/wordpress#g; s/\*:80>/*:8080>/" "$apache"/sites-available/*.conf
sed -i "s#<Directory /var/www/>#<Directory /usr/src/wordpress/>#" "$apache"/apache2.conf "$apache"/conf-enabled/*.conf
sed -i 's/^Listen 80$/Listen 8080/' "$apache/ports.conf"
ln -sf ../mods-available/headers.load "$apache/mods-enabled/headers.load"
