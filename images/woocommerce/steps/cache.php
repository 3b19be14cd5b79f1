<?php
// Empties the object cache: what it holds may be older than the database, as after a restore. Not by WordPress, which
// would read it first. A cache that does not answer fails no set-up, since the shop does without it too.
$host = getenv('STORE_CACHE_HOST');
$library = '/opt/store/redis-cache/dependencies/predis/predis/autoload.php';
if (!$host || !is_readable($library)) {
    done();
}
require $library;
for ($tries = 0; $tries < 10; $tries++) {
    try {
        (new Predis\Client([
            'host' => $host,
            'port' => (int) (getenv('STORE_CACHE_PORT') ?: 6379),
            'password' => (string) getenv('STORE_CACHE_PASSWORD'),
            'timeout' => 1,
            'read_write_timeout' => 5,
        ]))->flushdb();
        done('the object cache is empty');
    } catch (Predis\PredisException $error) {
        $said = $error->getMessage();
        sleep(1);
    }
}
done("the object cache does not answer, the shop goes on without it: $said");
