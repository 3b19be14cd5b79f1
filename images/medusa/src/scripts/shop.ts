import type { ExecArgs } from "@medusajs/framework/types"
import { ContainerRegistrationKeys } from "@medusajs/framework/utils"
import { ensureAdministrator, renameAdministrator, renewPassword } from "../set-up/administrator"
import { ensureCatalogue } from "../set-up/catalogue"
import { ensureMarket } from "../set-up/market"
import { isAnyRecorded, isRecorded, recordAdministrator, recordedAdministrator } from "../set-up/record"
import { ensureShipping } from "../set-up/shipping"
import { credentialsRecord, credentialsVersion } from "../set-up/version"
import { wishFromEnvironment } from "../set-up/wish"

/**
 * Makes what a shopper needs to be able to buy.
 *
 * Every step looks for what it makes first, so that a run that was cut off is finished by the next one. Once a set-up
 * has completed, everything is the owner's and later runs only migrate, let the administrator's login follow an e-mail
 * address that was changed, and replace the password once for each time that the Secret's passwords were replaced.
 */
export default async function shop({ container }: ExecArgs): Promise<void> {
  const logger = container.resolve(ContainerRegistrationKeys.LOGGER)
  const database = container.resolve(ContainerRegistrationKeys.PG_CONNECTION)
  const wish = wishFromEnvironment()
  const ask = (sql: string, values: string[]) => database.raw(sql.replace("$1", "?"), values)
  if (await isAnyRecorded(ask)) {
    logger.info("the shop is its owner's already: nothing to make")
    const previous = await recordedAdministrator(ask)
    if (previous && previous !== wish.adminEmail) {
      await renameAdministrator(container, wish, previous)
      logger.info("the administrator has the new e-mail address")
    }
    await recordAdministrator(ask, wish.adminEmail)
    if (credentialsVersion() > 1 && !(await isRecorded(ask, credentialsRecord()))) {
      await renewPassword(container, wish)
      logger.info("the administrator has the new password")
    }
    return
  }
  await ensureAdministrator(container, wish)
  const market = await ensureMarket(container, wish)
  const shipping = await ensureShipping(container, wish, market)
  if (wish.sampleProduct) await ensureCatalogue(container, wish, market, shipping)
  await recordAdministrator(ask, wish.adminEmail)
  logger.info("the shop can sell")
}
