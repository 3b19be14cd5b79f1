<?php
// Two set-ups at once would make every page twice, and WordPress gives up where it finds half of its tables: the lock
// comes before WordPress. It goes with its connection, so each step takes it anew.
function take_lock(): void
{
    static $connection;
    mysqli_report(MYSQLI_REPORT_OFF);
    [$host, $port] = array_pad(explode(':', getenv('WORDPRESS_DB_HOST'), 2), 2, '3306');
    $name = getenv('WORDPRESS_DB_NAME');
    $connection = @mysqli_connect($host, getenv('WORDPRESS_DB_USER'), getenv('WORDPRESS_DB_PASSWORD'), $name, (int) $port);
    if (!$connection) {
        fwrite(STDERR, 'the database went away: ' . mysqli_connect_error() . "\n");
        exit(1);
    }
    $answer = $connection->query("SELECT GET_LOCK('store-setup', 120)");
    if (!$answer || (int) $answer->fetch_row()[0] !== 1) {
        fwrite(STDERR, "another set-up holds the lock\n");
        exit(1);
    }
}
