import type { MedusaRequest, MedusaResponse } from "@medusajs/framework/http"
import { ContainerRegistrationKeys } from "@medusajs/framework/utils"
import { isToken } from "../../../probe/mark"
import { probeOrders, removeProbeOrders } from "../../../probe/orders"

const HEADER = "x-store-probe"

/** The platform's test orders, as the administration sees them. */
export async function GET(request: MedusaRequest, response: MedusaResponse): Promise<void> {
  if (!isToken(request.get(HEADER))) return refuse(response)
  const ids = await probeOrders(request.scope.resolve(ContainerRegistrationKeys.PG_CONNECTION))
  const query = request.scope.resolve(ContainerRegistrationKeys.QUERY)
  const { data } = await query.graph({
    entity: "order",
    fields: ["id", "display_id", "email", "status", "total", "currency_code"],
    filters: { id: ids },
  })
  response.json({ orders: ids.length ? data : [] })
}

/** Removes the platform's test orders without a trace. */
export async function DELETE(request: MedusaRequest, response: MedusaResponse): Promise<void> {
  if (!isToken(request.get(HEADER))) return refuse(response)
  const database = request.scope.resolve(ContainerRegistrationKeys.PG_CONNECTION)
  const removed = await removeProbeOrders(database)
  response.json({ removed, left: (await probeOrders(database)).length })
}

function refuse(response: MedusaResponse): void {
  response.status(403).json({ message: "the probe's token is missing or another one" })
}
