<?php
// WooCommerce active, a theme that asks nobody outside, readable addresses.
require __DIR__ . '/lock.php';
take_lock();
require getenv('WP_PATH') . '/wp-load.php';
require_once ABSPATH . 'wp-admin/includes/plugin.php';

$failed = activate_plugin('woocommerce/woocommerce.php');
if (is_wp_error($failed)) {
    fwrite(STDERR, $failed->get_error_message() . "\n");
    exit(1);
}
if (get_option('store_setup_version') === false) {
    switch_theme('twentytwentyfive');
    update_option('permalink_structure', '/%postname%/');
}
done('WooCommerce active');
