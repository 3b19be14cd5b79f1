import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { MedusaContainer } from "@medusajs/framework/types"
import { ContainerRegistrationKeys } from "@medusajs/framework/utils"

/** Files of the storefront page by the name under `/shop/`, each with its type. */
export const ASSETS: Record<string, string> = {
  "shop.css": "text/css; charset=utf-8",
  "shop.js": "text/javascript; charset=utf-8",
}

/** Returns a file of the storefront page. */
export function storefrontFile(name: string): string {
  return readFileSync(join(process.cwd(), "storefront", name), "utf8")
}

/** Headers of everything that belongs to the page: it takes nothing from other hosts and is framed by nobody. */
export const PAGE_HEADERS = {
  "Cache-Control": "no-cache",
  "Content-Security-Policy":
    "default-src 'self'; img-src 'self' https: data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "same-origin",
}

type Link = { sales_channel_id: string } | null

/** What a storefront has to know before its first call: the shop's name and the key of its sales channel. */
export async function storefrontConfig(
  container: MedusaContainer,
): Promise<{ title: string; publishable_key: string | null }> {
  const query = container.resolve(ContainerRegistrationKeys.QUERY)
  const { data: stores } = await query.graph({ entity: "store", fields: ["name", "default_sales_channel_id"] })
  const { data: keys } = await query.graph({
    entity: "api_key",
    fields: ["token", "revoked_at", "created_at", "sales_channels_link.sales_channel_id"],
    filters: { type: "publishable" },
  })
  const channel = stores[0]?.default_sales_channel_id
  const usable = keys
    .filter((key) => !key.revoked_at)
    .filter((key) => key.sales_channels_link?.some((link: Link) => link?.sales_channel_id === channel))
    .sort((one, other) => String(one.created_at).localeCompare(String(other.created_at)))
  return { title: stores[0]?.name ?? "", publishable_key: usable[0]?.token ?? null }
}
