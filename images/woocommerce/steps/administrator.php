<?php
// After a rotation: the administrator's password of the Secret, once. What its owner changes later stays.
require getenv('WP_PATH') . '/wp-load.php';

$wanted = (int) (getenv('STORE_CREDENTIALS_VERSION') ?: 1);
if ($wanted <= (int) get_option('store_credentials_version', 1)) {
    done();
}
$user = get_user_by('login', getenv('STORE_ADMIN_USER'));
if (!$user) {
    fwrite(STDERR, "there is no user " . getenv('STORE_ADMIN_USER') . "\n");
    exit(1);
}
add_filter('pre_wp_mail', '__return_true');
wp_set_password(rtrim((string) file_get_contents(getenv('STORE_ADMIN_PASSWORD_FILE')), "\r\n"), $user->ID);
WP_Session_Tokens::get_instance($user->ID)->destroy_all();
update_option('store_credentials_version', $wanted, false);
done('the administrator has the new password');
