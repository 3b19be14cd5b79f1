import type { MedusaRequest, MedusaResponse } from "@medusajs/framework/http"
import { ASSETS, PAGE_HEADERS, storefrontFile } from "../../../storefront"

/** Script and style of the storefront page. */
export async function GET(request: MedusaRequest, response: MedusaResponse): Promise<void> {
  const name = request.params.file
  if (!Object.hasOwn(ASSETS, name)) {
    response.sendStatus(404)
    return
  }
  response.set(PAGE_HEADERS).set("Content-Type", ASSETS[name]).send(storefrontFile(name))
}
