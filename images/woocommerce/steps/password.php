<?php
// After a rotation: the database's user gets the password that the shop has now. Safe to repeat.
mysqli_report(MYSQLI_REPORT_OFF);
const REFUSED = 1045; // ER_ACCESS_DENIED_ERROR

[$host, $port] = array_pad(explode(':', getenv('WORDPRESS_DB_HOST'), 2), 2, '3306');
$user = getenv('WORDPRESS_DB_USER');
$password = getenv('WORDPRESS_DB_PASSWORD');

$log_in = static function (string $user, string $password) use ($host, $port): ?mysqli {
    for ($tries = 0; $tries < 120; $tries++) {
        $connection = @mysqli_connect($host, $user, $password, '', (int) $port);
        if ($connection || mysqli_connect_errno() === REFUSED) {
            return $connection ?: null;
        }
        sleep(1);
    }
    fwrite(STDERR, 'the database did not answer for 120 s: ' . mysqli_connect_error() . "\n");
    exit(1);
};

if ($log_in($user, $password)) {
    echo "the database knows the password\n";
    exit(0);
}
$root = $log_in('root', rtrim((string) file_get_contents(getenv('STORE_DB_ROOT_PASSWORD_FILE')), "\r\n"));
if (!$root) {
    fwrite(STDERR, "the database refuses the root password\n");
    exit(1);
}
$hosts = $root->query("SELECT Host FROM mysql.user WHERE User = '" . $root->real_escape_string($user) . "'");
foreach ($hosts ? $hosts->fetch_all() : [] as [$from]) {
    $account = sprintf("'%s'@'%s'", $root->real_escape_string($user), $root->real_escape_string($from));
    if (!$root->query(sprintf("ALTER USER %s IDENTIFIED BY '%s'", $account, $root->real_escape_string($password)))) {
        fwrite(STDERR, "the password cannot be changed: error {$root->errno}\n");
        exit(1);
    }
}
if (!$log_in($user, $password)) {
    fwrite(STDERR, "the database refuses the new password\n");
    exit(1);
}
echo "the database has the new password, the old one is refused\n";
