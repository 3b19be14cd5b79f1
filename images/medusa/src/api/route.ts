import type { MedusaRequest, MedusaResponse } from "@medusajs/framework/http"
import { escape } from "../html"
import { PAGE_HEADERS, storefrontConfig, storefrontFile } from "../storefront"

/** The storefront page; everything else on it is asked of the Store API by the shopper's browser. */
export async function GET(request: MedusaRequest, response: MedusaResponse): Promise<void> {
  const { title } = await storefrontConfig(request.scope)
  response.set(PAGE_HEADERS).type("html")
  response.send(storefrontFile("index.html").replaceAll("{{title}}", () => escape(title)))
}
