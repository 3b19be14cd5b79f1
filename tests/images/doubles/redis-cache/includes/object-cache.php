<?php
// In the place of Redis Object Cache's drop-in, which no package has: WordPress' own cache, in its name.
require ABSPATH . WPINC . '/cache.php';
