<?php
/**
 * Plugin Name: WooCommerce
 * Description: In the place of WooCommerce, which no package has: what the set-up and the test call, on WordPress' posts.
 */

function wc_get_page_id(string $page): int
{
    return (int) get_option("woocommerce_{$page}_page_id", -1);
}

function wc_get_product_id_by_sku(string $sku): int
{
    $found = get_posts(['post_type' => 'wc_double', 'meta_key' => '_sku', 'meta_value' => $sku, 'fields' => 'ids']);
    return (int) ($found[0] ?? 0);
}

class WC_Install
{
    public static function create_pages(): void
    {
        foreach (['shop', 'cart', 'checkout', 'myaccount'] as $page) {
            if (get_post_status(wc_get_page_id($page)) !== 'publish') {
                $made = ['post_type' => 'page', 'post_status' => 'publish', 'post_title' => ucfirst($page)];
                update_option("woocommerce_{$page}_page_id", wp_insert_post($made));
            }
        }
    }

    public static function newly_installed(): void
    {
        add_option('woocommerce_coming_soon', 'yes');
        update_option('woocommerce_newly_installed', 'no');
    }
}

class WC_Cache_Helper
{
    public static function get_transient_version(string $group, bool $refresh): string
    {
        return '1';
    }
}

class WC_Shipping_Zone
{
    public function __construct(private int $id)
    {
    }

    public function get_shipping_methods(bool $enabled): array
    {
        return get_option("double_zone_{$this->id}", []);
    }

    public function add_shipping_method(string $method): int
    {
        update_option("double_zone_{$this->id}", [...$this->get_shipping_methods(true), $method]);
        return count($this->get_shipping_methods(true));
    }
}

class WC_Product_Simple
{
    private array $fields = [];

    public function __call(string $name, array $arguments): void
    {
        $this->fields[substr($name, strlen('set_'))] = $arguments[0];
    }

    public function save(): int
    {
        $post = ['post_type' => 'wc_double', 'post_status' => $this->fields['status'], 'post_title' => $this->fields['name']];
        return wp_insert_post($post + ['meta_input' => ['_sku' => $this->fields['sku']]]);
    }
}

add_action('init', static fn () => register_post_type('wc_double', ['public' => true]));
add_action('rest_api_init', static function (): void {
    register_rest_route('wc/store/v1', '/products', ['methods' => 'GET', 'permission_callback' => '__return_true', 'callback' =>
        static fn () => array_map(static fn ($post) => ['id' => $post->ID, 'name' => $post->post_title, 'is_purchasable' => true],
            get_posts(['post_type' => 'wc_double', 'post_status' => 'publish'])),
    ]);
});
