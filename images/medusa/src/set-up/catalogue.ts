import type { MedusaContainer } from "@medusajs/framework/types"
import { Modules, ProductStatus } from "@medusajs/framework/utils"
import { createInventoryLevelsWorkflow, createProductsWorkflow } from "@medusajs/medusa/core-flows"
import type { Market } from "./market"
import type { Shipping } from "./shipping"
import type { Wish } from "./wish"

const SKU = "SAMPLE-1"
const HANDLE = "sample-product"
const PRICE = 19.99
const STOCK = 1000

/** Puts one product in stock into the catalogue, so that an order can be placed before the owner has done anything. */
export async function ensureCatalogue(
  container: MedusaContainer,
  wish: Wish,
  market: Market,
  shipping: Shipping,
): Promise<void> {
  const [found] = await container.resolve(Modules.PRODUCT).listProducts({ handle: HANDLE })
  if (!found) await createSample(container, wish, market, shipping)
  const inventory = container.resolve(Modules.INVENTORY)
  const [item] = await inventory.listInventoryItems({ sku: SKU })
  const levels = item ? await inventory.listInventoryLevels({ inventory_item_id: item.id }) : []
  if (item && !levels.length) {
    const level = { inventory_item_id: item.id, location_id: shipping.location, stocked_quantity: STOCK }
    await createInventoryLevelsWorkflow(container).run({ input: { inventory_levels: [level] } })
  }
}

async function createSample(
  container: MedusaContainer,
  wish: Wish,
  market: Market,
  shipping: Shipping,
): Promise<void> {
  const variant = {
    title: "Standard",
    sku: SKU,
    options: { Kind: "Standard" },
    manage_inventory: true,
    prices: [{ amount: PRICE, currency_code: wish.currency }],
  }
  const product = {
    title: "Sample Product",
    handle: HANDLE,
    description: "A sample product.",
    status: ProductStatus.PUBLISHED,
    shipping_profile_id: shipping.profile,
    options: [{ title: "Kind", values: ["Standard"] }],
    variants: [variant],
    sales_channels: [{ id: market.channel }],
  }
  await createProductsWorkflow(container).run({ input: { products: [product] } })
}
