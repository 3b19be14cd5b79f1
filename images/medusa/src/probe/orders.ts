import type { Knex } from "@medusajs/framework/mikro-orm/knex"
import { CHECK, isGenuine, MARK } from "./mark"

/** A row of a cart or an order that a probe made. */
interface Marked {
  id: string
  mark: string
  number: number
}

/** Returns the ids of the orders that the platform's probes placed. */
export async function probeOrders(database: Knex): Promise<string[]> {
  return (await marked(database, "order")).map((order) => order.id)
}

/**
 * Removes every order that a probe placed with all that came with it, as if it had never been: reserved stock is free
 * again, and the next order gets the number that the removed one had.
 */
export async function removeProbeOrders(database: Knex): Promise<string[]> {
  return database.transaction(async (transaction) => {
    // No order may get a number while the numbers are set back; shoppers who order now wait a moment.
    await transaction.raw('lock table "order" in exclusive mode')
    const orders = await marked(transaction, "order")
    const carts = [...(await marked(transaction, "cart")).map((cart) => cart.id), ...(await checkedCarts(transaction))]
    const ids = orders.map((order) => order.id)
    await releaseStock(transaction, ids)
    await removePayments(transaction, carts)
    await removeRows(transaction, ids, carts)
    await setNumbersBack(transaction, new Set(orders.map((order) => order.number)))
    return ids
  })
}

async function marked(database: Knex, table: "order" | "cart"): Promise<Marked[]> {
  const number = table === "order" ? "display_id" : "0"
  const { rows } = await database.raw(
    `select id, ${number} as number, metadata->>'${MARK}' as mark from "${table}" where metadata->>'${MARK}' is not null`,
  )
  return (rows as Marked[]).filter((row) => isGenuine(row.mark))
}

/** Carts by which the platform saw that they can be filled; whoever calls a cart so loses no order by it. */
async function checkedCarts(database: Knex): Promise<string[]> {
  const { rows } = await database.raw(
    `select id from cart where metadata->>'${CHECK}' is not null and completed_at is null`,
  )
  return (rows as { id: string }[]).map((row) => row.id)
}

async function releaseStock(database: Knex, orders: string[]): Promise<void> {
  const lines = database("order_item").whereIn("order_id", orders).select("item_id")
  const reserved = await database("reservation_item").whereIn("line_item_id", lines).delete().returning("*")
  for (const { inventory_item_id, location_id, quantity } of reserved) {
    await database("inventory_level").where({ inventory_item_id, location_id }).update({
      reserved_quantity: database.raw("reserved_quantity - ?", [quantity]),
      // Medusa keeps each number twice, the second time exactly.
      raw_reserved_quantity: database.raw(
        "jsonb_set(raw_reserved_quantity, '{value}', to_jsonb((reserved_quantity - ?)::text))",
        [quantity],
      ),
    })
  }
}

async function removePayments(database: Knex, carts: string[]): Promise<void> {
  const links = database("cart_payment_collection").whereIn("cart_id", carts).select("payment_collection_id")
  const collections = (await links).map((link) => link.payment_collection_id)
  await database("order_payment_collection").whereIn("payment_collection_id", collections).delete()
  await database("cart_payment_collection").whereIn("cart_id", carts).delete()
  await database("payment_collection").whereIn("id", collections).delete()
}

async function removeRows(database: Knex, orders: string[], carts: string[]): Promise<void> {
  const lines = await database("order_item").whereIn("order_id", orders).pluck("item_id")
  const methods = await database("order_shipping").whereIn("order_id", orders).pluck("shipping_method_id")
  const removed = await database("order").whereIn("id", orders).delete().returning("*")
  await database("order_line_item").whereIn("id", lines).delete()
  await database("order_shipping_method").whereIn("id", methods).delete()
  await database("order_cart").whereIn("cart_id", carts).delete()
  const left = await database("cart").whereIn("id", carts).delete().returning("*")
  await removeAddresses(database, "order_address", removed)
  await removeAddresses(database, "cart_address", left)
  const guests = [...new Set([...removed, ...left].map((row) => row.customer_id))]
  const others = database("order").whereNotNull("customer_id").select("customer_id")
  await database("customer").whereIn("id", guests).where({ has_account: false }).whereNotIn("id", others).delete()
  for (const cart of carts) {
    // Medusa keeps each purchase's run for days; only within its data does it say whose it was.
    const runs = database("workflow_execution").where({ workflow_id: "complete-cart" })
    await runs.whereRaw("strpos(context::text, ?) > 0", [cart]).delete()
  }
}

async function removeAddresses(database: Knex, table: string, rows: Record<string, string>[]): Promise<void> {
  const ids = rows.flatMap((row) => [row.shipping_address_id, row.billing_address_id]).filter(Boolean)
  await database(table).whereIn("id", ids).delete()
}

async function setNumbersBack(database: Knex, removed: Set<number>): Promise<void> {
  const { rows } = await database.raw(
    "select last_value::int as last, is_called as used, coalesce((select max(display_id) from \"order\"), 0) as highest from order_display_id_seq",
  )
  const { last, used, highest } = rows[0]
  let number = last
  // A number that a shopper's order has taken since stays taken, and so do those before it.
  while (used && number > highest && removed.has(number)) number -= 1
  if (number !== last) {
    await database.raw("select setval('order_display_id_seq', ?, ?)", [Math.max(number, 1), number > 0])
  }
}
