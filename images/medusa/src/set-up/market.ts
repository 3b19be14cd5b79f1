import type { MedusaContainer } from "@medusajs/framework/types"
import { ContainerRegistrationKeys, Modules } from "@medusajs/framework/utils"
import {
  createApiKeysWorkflow,
  createRegionsWorkflow,
  createSalesChannelsWorkflow,
  createTaxRegionsWorkflow,
  linkSalesChannelsToApiKeyWorkflow,
  updateStoresWorkflow,
} from "@medusajs/medusa/core-flows"
import type { Wish } from "./wish"

/** Payment by hand: the shopper pays on delivery. Medusa's own provider, always there. */
const MANUAL_PAYMENT = "pp_system_default"
/** Names under which Medusa makes both by itself at its first start; they are used rather than doubled. */
const CHANNEL = "Default Sales Channel"
const KEY = "Default Publishable API Key"

/** Where the shop sells: ids of Medusa's objects. */
export interface Market {
  channel: string
  region: string
}

/** Makes the sales channel with its publishable key, the shop's name and currency, and the region of its country. */
export async function ensureMarket(container: MedusaContainer, wish: Wish): Promise<Market> {
  const channel = await ensureChannel(container)
  await ensureKey(container, channel)
  const [store] = await container.resolve(Modules.STORE).listStores()
  await updateStoresWorkflow(container).run({
    input: {
      selector: { id: store.id },
      update: {
        name: wish.title,
        default_sales_channel_id: channel,
        supported_currencies: [{ currency_code: wish.currency, is_default: true }],
      },
    },
  })
  const region = await ensureRegion(container, wish)
  await updateStoresWorkflow(container).run({
    input: { selector: { id: store.id }, update: { default_region_id: region } },
  })
  return { channel, region }
}

async function ensureChannel(container: MedusaContainer): Promise<string> {
  const [found] = await container.resolve(Modules.SALES_CHANNEL).listSalesChannels({ name: CHANNEL })
  if (found) return found.id
  const input = { salesChannelsData: [{ name: CHANNEL }] }
  return (await createSalesChannelsWorkflow(container).run({ input })).result[0].id
}

async function ensureKey(container: MedusaContainer, channel: string): Promise<void> {
  const keys = await container.resolve(Modules.API_KEY).listApiKeys({ type: "publishable" })
  let id = keys.find((key) => !key.revoked_at)?.id
  if (!id) {
    const input = { api_keys: [{ title: KEY, type: "publishable" as const, created_by: "" }] }
    id = (await createApiKeysWorkflow(container).run({ input })).result[0].id
  }
  await linkSalesChannelsToApiKeyWorkflow(container).run({ input: { id, add: [channel] } })
}

async function ensureRegion(container: MedusaContainer, wish: Wish): Promise<string> {
  const query = container.resolve(ContainerRegistrationKeys.QUERY)
  const [found] = await container.resolve(Modules.REGION).listRegions({}, { relations: ["countries"] })
  const name = new Intl.DisplayNames(["en"], { type: "region" }).of(wish.country.toUpperCase()) ?? wish.country
  const fields = {
    name,
    currency_code: wish.currency,
    countries: [wish.country],
    payment_providers: [MANUAL_PAYMENT],
  }
  const id = found?.id ?? (await createRegionsWorkflow(container).run({ input: { regions: [fields] } })).result[0].id
  const { data: taxed } = await query.graph({
    entity: "tax_region",
    fields: ["id"],
    filters: { country_code: wish.country },
  })
  if (!taxed.length) {
    await createTaxRegionsWorkflow(container).run({
      input: [{ country_code: wish.country, provider_id: "tp_system" }],
    })
  }
  return id
}
