<?php
// WordPress' tables and the administrator.
define('WP_INSTALLING', true);
$_SERVER['HTTP_HOST'] = 'localhost';
require __DIR__ . '/lock.php';
take_lock();
require getenv('WP_PATH') . '/wp-load.php';
require_once ABSPATH . 'wp-admin/includes/upgrade.php';

if (is_blog_installed()) {
    wp_upgrade();
    done('WordPress is installed already');
}
add_filter('pre_wp_mail', '__return_true'); // the pod has no mail server
$password = rtrim(file_get_contents(getenv('STORE_ADMIN_PASSWORD_FILE')), "\r\n");
$made = wp_install(getenv('STORE_TITLE'), getenv('STORE_ADMIN_USER'), getenv('STORE_ADMIN_EMAIL'), true, '', $password);
done("WordPress installed, administrator {$made['user_id']}");
