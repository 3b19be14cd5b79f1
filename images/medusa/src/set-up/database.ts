import { setTimeout as pause } from "node:timers/promises"
import { Client, DatabaseError } from "pg"
import { credentialsVersion } from "./version"

/** SQLSTATE class 28: the password or the user is wrong, and will be so next time. */
const REFUSED = "28"
/** How long the database may take to learn a password that was replaced: its pod is replaced too. */
const LEARNING_SECONDS = 120

/** Returns a connection as soon as the database takes one; ends the process's work when it refuses the password. */
export async function connected(patienceSeconds: number): Promise<Client> {
  const deadline = Date.now() + patienceSeconds * 1000
  const learnt = Date.now() + (credentialsVersion() > 1 ? LEARNING_SECONDS * 1000 : 0)
  for (;;) {
    const client = new Client({ connectionString: process.env.DATABASE_URL, connectionTimeoutMillis: 5000 })
    try {
      await client.connect()
      return client
    } catch (error) {
      await client.end().catch(() => undefined)
      if (error instanceof DatabaseError && error.code?.startsWith(REFUSED) && Date.now() > learnt) {
        throw new Error(`the database refuses the shop's password: ${error.message}`)
      }
      if (Date.now() > deadline) {
        throw new Error(`the database did not answer for ${patienceSeconds} s: ${(error as Error).message}`)
      }
      await pause(1000)
    }
  }
}
