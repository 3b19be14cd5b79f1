<?php
/**
 * Plugin Name: Store object cache
 * Description: Keeps WordPress' objects in the shop's Valkey, by Redis Object Cache, where the chart runs one.
 */

// Where there is no cache, or no plugin for it, nothing is defined here and WordPress takes its own.
defined('ABSPATH') || exit;

if (getenv('STORE_CACHE_HOST') && is_readable('/opt/store/redis-cache/includes/object-cache.php')) {
    define('WP_REDIS_PLUGIN_PATH', '/opt/store/redis-cache');
    define('WP_REDIS_HOST', getenv('STORE_CACHE_HOST'));
    define('WP_REDIS_PORT', (int) (getenv('STORE_CACHE_PORT') ?: 6379));
    define('WP_REDIS_PASSWORD', (string) getenv('STORE_CACHE_PASSWORD'));
    // A cache that is gone costs a request at most these seconds, never an answer.
    define('WP_REDIS_GRACEFUL', true);
    define('WP_REDIS_TIMEOUT', 1);
    define('WP_REDIS_READ_TIMEOUT', 1);
    // What a change could not remove while the cache was out of reach is not believed for longer than this.
    define('WP_REDIS_MAXTTL', 3600);
    require WP_REDIS_PLUGIN_PATH . '/includes/object-cache.php';
}
