<?php
// WordPress' tables and the administrator.
define('WP_INSTALLING', true);
$_SERVER['HTTP_HOST'] = 'localhost';
require getenv('WP_PATH') . '/wp-load.php';
require_once ABSPATH . 'wp-admin/includes/upgrade.php';

global $wpdb;
// Two set-ups at once would make every page twice; the lock goes with the connection.
if ((int) $wpdb->get_var("SELECT GET_LOCK('store-setup', 120)") !== 1) {
    fwrite(STDERR, "another set-up holds the lock\n");
    exit(1);
}
if (is_blog_installed()) {
    wp_upgrade();
    echo "WordPress is installed already\n";
    exit(0);
}
add_filter('pre_wp_mail', '__return_true'); // the pod has no mail server
$password = rtrim(file_get_contents(getenv('STORE_ADMIN_PASSWORD_FILE')), "\r\n");
$made = wp_install(getenv('STORE_TITLE'), getenv('STORE_ADMIN_USER'), getenv('STORE_ADMIN_EMAIL'), true, '', $password);
echo "WordPress installed, administrator {$made['user_id']}\n";
