<?php
/**
 * Plugin Name: Store probe
 * Description: Lets the platform prove by a test order that shoppers can buy, without a trace in the shop's books.
 *
 * A request that carries the store's probe token in X-Store-Probe is the platform's. Its order gets a mark that no
 * shopper can set; a marked order takes no stock, sends no mail, calls no webhook and counts in no report.
 * GET store-platform/v1/probe-orders lists the marked orders and says where the shop delivers, DELETE removes them and gives their numbers back.
 */

defined('ABSPATH') || exit;

final class Store_Probe
{
    private const MARK = '_store_probe';
    private const SESSION = '_store_probe_session';
    private const TOKEN_FILE = '/run/store-probe/probe-token';
    private const MOST = 100;
    /** One for each form that WooCommerce's checks know. */
    private const POSTCODES = [
        '10115', '71000', '9490', '1010', '110001', '101', '1000-001', '00-001', '111 22', '110 00', '100-0001', '01310-100', '1011 AB',
        'SW1A 1AA', 'K1A 0B1', 'D01 F5P2', '1000000', '12345-678', 'LV-1010', 'BB11000', 'AD100',
    ];

    public static function start(): void
    {
        add_action('rest_api_init', [self::class, 'routes']);
        // Whatever asks later about a marked order, in a request or from the queue, is told that it is none.
        $no = static fn ($value, $order = null) => self::is_marked($order) ? false : $value;
        add_filter('woocommerce_can_reduce_order_stock', $no, 99, 2);
        add_filter('woocommerce_can_restore_order_stock', $no, 99, 2);
        add_filter('woocommerce_webhook_should_deliver', static fn ($value, $hook, $arg) => $no($value, $arg), 99, 3);
        add_filter('woocommerce_allow_send_queued_transactional_email', static fn ($value, $name, $args) => $no($value, $args[0] ?? null), 99, 3);
        add_filter('woocommerce_analytics_is_test_order', static fn ($value, $order) => $value || self::is_marked($order), 99, 2);
        if (self::is_probe()) {
            self::make_traceless();
        }
    }

    /** Whether this request is the platform's. */
    private static function is_probe(): bool
    {
        $file = getenv('STORE_PROBE_TOKEN_FILE') ?: self::TOKEN_FILE;
        $token = is_readable($file) ? trim((string) file_get_contents($file)) : '';
        $given = $_SERVER['HTTP_X_STORE_PROBE'] ?? '';
        return strlen($token) >= 32 && is_string($given) && hash_equals($token, $given);
    }

    private static function make_traceless(): void
    {
        nocache_headers();
        add_action('woocommerce_before_order_object_save', [self::class, 'mark']);
        add_filter('woocommerce_hold_stock_for_checkout', '__return_false', 99);
        add_filter('woocommerce_email_actions', '__return_empty_array', 99);
        add_filter('pre_wp_mail', '__return_false', 99);
        add_action('init', static function (): void {
            foreach (['completed', 'processing', 'on-hold'] as $status) {
                remove_action("woocommerce_order_status_$status", 'wc_update_total_sales_counts');
            }
            $importer = ['Automattic\WooCommerce\Internal\Admin\Schedulers\OrdersScheduler', 'possibly_schedule_import'];
            foreach (['woocommerce_update_order', 'woocommerce_create_order', 'woocommerce_schedule_import'] as $hook) {
                remove_filter($hook, $importer);
            }
        }, PHP_INT_MAX);
    }

    /** Before the first write of the order, so that a crash leaves none without its mark. */
    public static function mark($order): void
    {
        if ($order instanceof WC_Order && !$order->get_id()) {
            $order->update_meta_data(self::MARK, '1');
            $order->update_meta_data(self::SESSION, WC()->session ? (string) WC()->session->get_customer_id() : '');
        }
    }

    private static function is_marked($order): bool
    {
        $order = is_numeric($order) && function_exists('wc_get_order') ? wc_get_order((int) $order) : $order;
        return $order instanceof WC_Order && $order->get_meta(self::MARK) === '1';
    }

    public static function routes(): void
    {
        $allowed = static fn () => self::is_probe()
            ?: new WP_Error('store_probe_refused', 'The probe token is not the one of this store.', ['status' => 403]);
        register_rest_route('store-platform/v1', '/probe-orders', [
            ['methods' => 'GET', 'callback' => [self::class, 'report'], 'permission_callback' => $allowed],
            ['methods' => 'DELETE', 'callback' => [self::class, 'remove'], 'permission_callback' => $allowed],
        ]);
    }

    public static function report(): WP_REST_Response
    {
        $orders = array_map(static fn (WC_Order $order) => [
            'id' => $order->get_id(),
            'status' => $order->get_status(),
            'total' => $order->get_total(),
            'payment_method' => $order->get_payment_method(),
            'email' => $order->get_billing_email(),
        ], self::orders());
        return new WP_REST_Response(['orders' => $orders, 'address' => self::address()]);
    }

    /** An address in the shop's own country that its checks accept. */
    private static function address(): array
    {
        $country = WC()->countries->get_base_country();
        $states = WC()->countries->get_states($country);
        $postcodes = [WC()->countries->get_base_postcode(), ...self::POSTCODES];
        $valid = array_filter($postcodes, static fn ($code) => $code !== '' && WC_Validation::is_postcode($code, $country));
        return [
            'country' => $country,
            'state' => $states ? (string) array_key_first($states) : (is_array($states) ? '' : 'Test'),
            'postcode' => (string) (reset($valid) ?: ''),
        ];
    }

    public static function remove(): WP_REST_Response
    {
        $removed = [];
        foreach (self::orders() as $order) {
            $session = $order->get_meta(self::SESSION);
            $id = $order->get_id();
            self::forget($id);
            if ($order->delete(true)) {
                $removed[] = $id;
                self::forget_session($session);
            }
        }
        if ($removed) {
            // Before a shopper's order gets a number again: nothing of the test order may be remembered under it.
            wp_cache_flush();
            self::give_back_numbers(max($removed));
        }
        return new WP_REST_Response(['removed' => $removed, 'left' => count(self::orders())]);
    }

    /** @return WC_Order[] */
    private static function orders(): array
    {
        $statuses = [...array_keys(wc_get_order_statuses()), 'wc-checkout-draft', 'auto-draft', 'trash'];
        $found = wc_get_orders([
            'type' => 'shop_order',
            'status' => $statuses,
            'limit' => self::MOST,
            'meta_key' => self::MARK,
            'meta_value' => '1',
        ]);
        // Once more by the order itself: a data store that does not understand the question answers with every order.
        return array_values(array_filter($found, [self::class, 'is_marked']));
    }

    /** What others keep about the order and its deletion would leave. */
    private static function forget(int $id): void
    {
        global $wpdb;
        foreach (['wc_order_stats', 'wc_order_product_lookup', 'wc_order_coupon_lookup', 'wc_order_tax_lookup'] as $table) {
            $wpdb->delete($wpdb->prefix . $table, ['order_id' => $id]);
        }
        $wpdb->delete($wpdb->prefix . 'wc_reserved_stock', ['order_id' => $id]);
        if (function_exists('as_unschedule_all_actions')) {
            as_unschedule_all_actions('wc-admin_import_orders', [$id], 'wc-admin-data');
        }
        foreach (wc_get_order_notes(['order_id' => $id]) as $note) {
            wp_delete_comment($note->id, true);
        }
    }

    private static function forget_session(string $session): void
    {
        if (str_starts_with($session, 't_')) {
            (new WC_Session_Handler())->delete_session($session);
        }
    }

    /** The next order takes the number that the probe had, unless something newer has one already. */
    private static function give_back_numbers(int $last): void
    {
        global $wpdb;
        if ((int) $wpdb->get_var("SELECT MAX(ID) FROM $wpdb->posts") >= $last) {
            return;
        }
        // A gap in the numbers is better than a shop that waits.
        $wpdb->suppress_errors(true);
        $wpdb->query('SET SESSION lock_wait_timeout = 1');
        $wpdb->query("ALTER TABLE $wpdb->posts AUTO_INCREMENT = 1");
        $wpdb->query('SET SESSION lock_wait_timeout = DEFAULT');
        $wpdb->suppress_errors(false);
    }
}

Store_Probe::start();
