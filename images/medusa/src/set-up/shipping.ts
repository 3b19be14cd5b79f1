import type { MedusaContainer } from "@medusajs/framework/types"
import { ContainerRegistrationKeys, Modules } from "@medusajs/framework/utils"
import {
  createShippingOptionsWorkflow,
  createShippingProfilesWorkflow,
  createStockLocationsWorkflow,
  linkSalesChannelsToStockLocationWorkflow,
} from "@medusajs/medusa/core-flows"
import type { Market } from "./market"
import type { Wish } from "./wish"

const LOCATION = "Main warehouse"
const DELIVERY = "Delivery"
const MANUAL_FULFILMENT = "manual_manual"
const PRICE = 5

/** Where goods lie and how they are sent: ids of Medusa's objects. */
export interface Shipping {
  location: string
  profile: string
}

/** Makes a warehouse that delivers to the shop's country at a flat rate. */
export async function ensureShipping(container: MedusaContainer, wish: Wish, market: Market): Promise<Shipping> {
  const location = await ensureLocation(container, wish)
  await linkSalesChannelsToStockLocationWorkflow(container).run({ input: { id: location, add: [market.channel] } })
  const profile = await ensureProfile(container)
  const zone = await ensureDelivery(container, wish, location)
  await ensureOption(container, wish, market, zone, profile)
  return { location, profile }
}

async function ensureLocation(container: MedusaContainer, wish: Wish): Promise<string> {
  const link = container.resolve(ContainerRegistrationKeys.LINK)
  const [found] = await container.resolve(Modules.STOCK_LOCATION).listStockLocations({ name: LOCATION })
  const address = { address_1: "", country_code: wish.country }
  const input = { locations: [{ name: LOCATION, address }] }
  const id = found?.id ?? (await createStockLocationsWorkflow(container).run({ input })).result[0].id
  // Making a link again changes nothing.
  await link.create({
    [Modules.STOCK_LOCATION]: { stock_location_id: id },
    [Modules.FULFILLMENT]: { fulfillment_provider_id: MANUAL_FULFILMENT },
  })
  return id
}

async function ensureProfile(container: MedusaContainer): Promise<string> {
  const [found] = await container.resolve(Modules.FULFILLMENT).listShippingProfiles({ type: "default" })
  if (found) return found.id
  const input = { data: [{ name: "Default", type: "default" }] }
  return (await createShippingProfilesWorkflow(container).run({ input })).result[0].id
}

async function ensureDelivery(container: MedusaContainer, wish: Wish, location: string): Promise<string> {
  const fulfilment = container.resolve(Modules.FULFILLMENT)
  const [found] = await fulfilment.listFulfillmentSets({ name: DELIVERY }, { relations: ["service_zones"] })
  const set =
    found ??
    (await fulfilment.createFulfillmentSets({
      name: DELIVERY,
      type: "shipping",
      service_zones: [{ name: DELIVERY, geo_zones: [{ country_code: wish.country, type: "country" }] }],
    }))
  await container.resolve(ContainerRegistrationKeys.LINK).create({
    [Modules.STOCK_LOCATION]: { stock_location_id: location },
    [Modules.FULFILLMENT]: { fulfillment_set_id: set.id },
  })
  return set.service_zones[0].id
}

async function ensureOption(
  container: MedusaContainer,
  wish: Wish,
  market: Market,
  zone: string,
  profile: string,
): Promise<void> {
  const fulfilment = container.resolve(Modules.FULFILLMENT)
  const options = await fulfilment.listShippingOptions({ service_zone: { id: zone } })
  if (options.length) return
  await createShippingOptionsWorkflow(container).run({
    input: [
      {
        name: "Standard delivery",
        price_type: "flat",
        provider_id: MANUAL_FULFILMENT,
        service_zone_id: zone,
        shipping_profile_id: profile,
        type: { label: "Standard", description: "In a few days", code: "standard" },
        prices: [
          { currency_code: wish.currency, amount: PRICE },
          { region_id: market.region, amount: PRICE },
        ],
        rules: [
          { attribute: "enabled_in_store", value: "true", operator: "eq" },
          { attribute: "is_return", value: "false", operator: "eq" },
        ],
      },
    ],
  })
}
