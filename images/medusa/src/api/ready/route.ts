import type { MedusaRequest, MedusaResponse } from "@medusajs/framework/http"
import { ContainerRegistrationKeys } from "@medusajs/framework/utils"
import { isRecorded } from "../../set-up/record"
import { setUpVersion } from "../../set-up/version"

/** 200 only while the database answers and the set-up of this image is recorded; `/health` asks nobody. */
export async function GET(request: MedusaRequest, response: MedusaResponse): Promise<void> {
  const database = request.scope.resolve(ContainerRegistrationKeys.PG_CONNECTION)
  const ask = (sql: string, values: string[]) => database.raw(sql.replace("$1", "?"), values).timeout(2000)
  response.type("text/plain").set("Cache-Control", "no-store")
  try {
    const ready = await isRecorded(ask, setUpVersion())
    response.status(ready ? 200 : 503).send(ready ? "ok\n" : "the set-up has not completed\n")
  } catch {
    response.status(503).send("the database does not answer\n")
  }
}
