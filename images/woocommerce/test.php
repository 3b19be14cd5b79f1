<?php
// helm test: a shopper finds a product that can be bought.
$base = $argv[1];
$products = json_decode((string) file_get_contents("$base/wp-json/wc/store/v1/products"), true);
if (!$products || !$products[0]['is_purchasable']) {
    fwrite(STDERR, "no product can be bought\n");
    exit(1);
}
echo "the shop sells {$products[0]['name']}\n";
