<?php
// Readiness: 200 only when the database answers and the set-up has recorded itself. Loads no WordPress, so it neither
// redirects nor runs a plugin.
mysqli_report(MYSQLI_REPORT_OFF);
header('Content-Type: text/plain');
header('Cache-Control: no-store');

[$host, $port] = array_pad(explode(':', getenv('WORDPRESS_DB_HOST') ?: 'mysql', 2), 2, '3306');
$database = mysqli_init();
mysqli_options($database, MYSQLI_OPT_CONNECT_TIMEOUT, 2);
$user = getenv('WORDPRESS_DB_USER');
$password = getenv('WORDPRESS_DB_PASSWORD');
if (!@mysqli_real_connect($database, $host, $user, $password, getenv('WORDPRESS_DB_NAME'), (int) $port)) {
    if (in_array(mysqli_connect_errno(), [1044, 1045], true)) {
        // The log tells the platform that it is the password, which waiting does not mend.
        error_log((string) mysqli_connect_error());
    }
    http_response_code(503);
    exit("the database does not answer\n");
}
$found = @mysqli_query($database, "SELECT 1 FROM wp_options WHERE option_name = 'store_setup_version'");
if (!$found || !mysqli_num_rows($found)) {
    http_response_code(503);
    exit("the set-up has not completed\n");
}
echo "ok\n";
