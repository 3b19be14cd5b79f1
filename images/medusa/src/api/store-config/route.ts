import type { MedusaRequest, MedusaResponse } from "@medusajs/framework/http"
import { storefrontConfig } from "../../storefront"

/** What a storefront has to know; public as the publishable key is. */
export async function GET(request: MedusaRequest, response: MedusaResponse): Promise<void> {
  response.set("Cache-Control", "no-store").set("Access-Control-Allow-Origin", "*")
  response.json(await storefrontConfig(request.scope))
}
