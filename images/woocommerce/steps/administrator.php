<?php
// The administrator as the platform wishes: the e-mail address, and after a rotation the password of the Secret, each
// once for each time that it was changed there. What the owner changes later stays.
require getenv('WP_PATH') . '/wp-load.php';
add_filter('pre_wp_mail', '__return_true'); // the pod has no mail server

function administrator(): WP_User
{
    $user = get_user_by('login', getenv('STORE_ADMIN_USER'));
    if (!$user) {
        fwrite(STDERR, 'there is no user ' . getenv('STORE_ADMIN_USER') . "\n");
        exit(1);
    }
    return $user;
}

$email = (string) getenv('STORE_ADMIN_EMAIL');
$known = get_option('store_admin_email');
if ($known !== $email) {
    // The first set-up has made the user with it.
    if ($known !== false) {
        $changed = wp_update_user(['ID' => administrator()->ID, 'user_email' => $email]);
        if (is_wp_error($changed)) {
            fwrite(STDERR, "the administrator cannot have the e-mail address $email: {$changed->get_error_message()}\n");
            exit(1);
        }
        if (get_option('admin_email') === $known) {
            update_option('admin_email', $email);
        }
        echo "the administrator has the new e-mail address\n";
    }
    update_option('store_admin_email', $email, false);
}

$wanted = (int) (getenv('STORE_CREDENTIALS_VERSION') ?: 1);
if ($wanted <= (int) get_option('store_credentials_version', 1)) {
    done();
}
$user = administrator();
wp_set_password(rtrim((string) file_get_contents(getenv('STORE_ADMIN_PASSWORD_FILE')), "\r\n"), $user->ID);
WP_Session_Tokens::get_instance($user->ID)->destroy_all();
update_option('store_credentials_version', $wanted, false);
done('the administrator has the new password');
