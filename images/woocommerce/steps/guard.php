<?php
// Put in front of each step. WordPress ends with success when it gives up, as it does without its database: only a step
// that has reached its end has succeeded.
register_shutdown_function(static function (): void {
    if (!defined('STORE_STEP_DONE')) {
        fwrite(STDERR, basename($_SERVER['SCRIPT_NAME']) . " did not reach its end\n");
        exit(1);
    }
});

function done(string $said = ''): never
{
    define('STORE_STEP_DONE', true);
    echo $said === '' ? '' : "$said\n";
    exit(0);
}
