import type { MedusaContainer, UpdateUserDTO } from "@medusajs/framework/types"
import { Modules } from "@medusajs/framework/utils"
import { createUsersWorkflow } from "@medusajs/medusa/core-flows"
import type { Wish } from "./wish"

/** Makes the administrator, who logs in by e-mail address and password. */
export async function ensureAdministrator(container: MedusaContainer, wish: Wish): Promise<void> {
  const users = container.resolve(Modules.USER)
  const logins = container.resolve(Modules.AUTH)
  const email = wish.adminEmail

  let [user] = await users.listUsers({ email })
  if (!user) {
    const { result } = await createUsersWorkflow(container).run({ input: { users: [{ email }] } })
    user = result[0]
  }
  let [login] = await logins.listProviderIdentities({ entity_id: email, provider: "emailpass" })
  if (!login) {
    const made = await logins.register("emailpass", { body: { email, password: wish.adminPassword } })
    if (!made.success) throw new Error(`the administrator's login could not be made: ${made.error}`)
    ;[login] = await logins.listProviderIdentities({ entity_id: email, provider: "emailpass" })
  }
  // Only this lets the login act as the user; a run may have been cut off before it.
  await logins.updateAuthIdentities({ id: login.auth_identity_id!, app_metadata: { user_id: user.id } })
}

/** Lets the administrator, who logged in as `previous`, log in by another e-mail address; a cut-off run is finished. */
export async function renameAdministrator(container: MedusaContainer, wish: Wish, previous: string): Promise<void> {
  const users = container.resolve(Modules.USER)
  const logins = container.resolve(Modules.AUTH)
  const email = wish.adminEmail

  const [user] = await users.listUsers({ email: previous })
  const [other] = await users.listUsers({ email })
  if (user && other) throw new Error(`another user of the shop has the e-mail address ${email} already`)
  const [login] = await logins.listProviderIdentities({ entity_id: previous, provider: "emailpass" })
  if (login) await logins.updateProviderIdentities({ id: login.id, entity_id: email })
  // The service takes an address, its type does not: Medusa's own pages have no way to change it.
  if (user) await users.updateUsers({ id: user.id, email } as UpdateUserDTO)
  await ensureAdministrator(container, wish)
}

/** Gives the administrator the Secret's password, after it was replaced. */
export async function renewPassword(container: MedusaContainer, wish: Wish): Promise<void> {
  const login = { entity_id: wish.adminEmail, password: wish.adminPassword }
  const changed = await container.resolve(Modules.AUTH).updateProvider("emailpass", login)
  if (!changed.success) throw new Error(`the administrator's password could not be replaced: ${changed.error}`)
}
