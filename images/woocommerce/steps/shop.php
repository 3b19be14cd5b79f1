<?php
// What a shopper needs to be able to buy: pages, currency, cash on delivery, shipping, a product.
require __DIR__ . '/lock.php';
take_lock();
require getenv('WP_PATH') . '/wp-load.php';
wp_set_current_user(1);

function fail(string $message): never
{
    fwrite(STDERR, "$message\n");
    exit(1);
}

function setting(string $name, string $default): string
{
    $value = getenv($name);
    return $value === false || $value === '' ? $default : $value;
}

// Once the set-up has recorded itself, every option is the owner's.
$first = get_option('store_setup_version') === false;

WC_Install::create_pages();
foreach (['shop', 'cart', 'checkout', 'myaccount'] as $page) {
    $id = wc_get_page_id($page);
    if ($id < 1 || get_post_status($id) !== 'publish') {
        fail("the page $page is missing");
    }
}

$options = [
    'woocommerce_default_country' => setting('STORE_COUNTRY', 'DE'),
    'woocommerce_currency' => setting('STORE_CURRENCY', 'EUR'),
    'woocommerce_allowed_countries' => 'all',
    'woocommerce_ship_to_countries' => '',
    // WooCommerce hides a new shop behind "coming soon" at the first visit of its admin pages, unless these are set.
    'woocommerce_coming_soon' => 'no',
    'woocommerce_store_pages_only' => 'no',
    'woocommerce_enable_guest_checkout' => 'yes',
    'woocommerce_allow_tracking' => 'no',
    'woocommerce_show_marketplace_suggestions' => 'no',
    'woocommerce_task_list_hidden' => 'yes',
    'woocommerce_onboarding_profile' => ['skipped' => true, 'completed' => true],
    'blog_public' => '1',
    'show_on_front' => 'page',
    'page_on_front' => wc_get_page_id('shop'),
    'woocommerce_cod_settings' => [
        'enabled' => 'yes',
        'title' => 'Cash on delivery',
        'description' => 'Pay with cash upon delivery.',
        'instructions' => 'Pay with cash upon delivery.',
        'enable_for_methods' => [],
        'enable_for_virtual' => 'yes',
    ],
];
foreach ($options as $name => $value) {
    if ($first || get_option($name) === false) {
        update_option($name, $value);
    }
}

// What WooCommerce would do at the first visit of its admin pages, such as moving orders to tables of their own: no
// shopper's order may lie before it.
WC_Install::newly_installed();

// Zone 0 is everywhere: without a shipping method there a physical product cannot be ordered.
$zone = new WC_Shipping_Zone(0);
if ($first && !$zone->get_shipping_methods(true)) {
    $method = $zone->add_shipping_method('flat_rate');
    update_option("woocommerce_flat_rate_{$method}_settings", ['title' => 'Flat rate', 'tax_status' => 'none', 'cost' => '5']);
    WC_Cache_Helper::get_transient_version('shipping', true);
}

if ($first && !wc_get_product_id_by_sku('SAMPLE-1')) {
    $product = new WC_Product_Simple();
    $product->set_name('Sample Product');
    $product->set_sku('SAMPLE-1');
    $product->set_slug('sample-product');
    $product->set_regular_price('19.99');
    $product->set_description('A sample product.');
    $product->set_manage_stock(true);
    $product->set_stock_quantity(1000);
    $product->set_status('publish');
    if (!$product->save()) {
        fail('the sample product could not be saved');
    }
}

if ($first) {
    foreach ([1, 2] as $id) {
        $post = get_post($id);
        if ($post && in_array($post->post_name, ['hello-world', 'sample-page'], true)) {
            wp_delete_post($id, true);
        }
    }
}
flush_rewrite_rules(false);
update_option('store_setup_version', setting('STORE_SETUP_VERSION', '1'), true);
done('the shop can sell');
