/** Migrates the database and makes a shop that sells; may run again at any time, and twice at once. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import Redis from "ioredis"
import { connected } from "../set-up/database"
import { prepareRecord, record } from "../set-up/record"
import { credentialsRecord, credentialsVersion, setUpVersion } from "../set-up/version"

const PATIENCE_SECONDS = 180
/** Any number; only set-ups of this very database take it. */
const LOCK = 7_264_001

async function cacheAnswers(): Promise<void> {
  const cache = new Redis(process.env.REDIS_URL ?? "", {
    maxRetriesPerRequest: null,
    retryStrategy: (times) => (times < PATIENCE_SECONDS ? 1000 : null),
  })
  cache.on("error", () => undefined) // told by the last failure, below
  try {
    await cache.ping()
  } catch (error) {
    throw new Error(`the cache does not answer: ${(error as Error).message}`)
  } finally {
    cache.disconnect()
  }
}

async function medusa(...command: string[]): Promise<void> {
  const child = spawn(process.execPath, ["node_modules/@medusajs/cli/cli.js", ...command], { stdio: "inherit" })
  const [status] = await once(child, "exit")
  if (status !== 0) throw new Error(`medusa ${command[0]} ended with ${status}`)
}

async function main(): Promise<void> {
  const database = await connected(PATIENCE_SECONDS)
  await cacheAnswers()
  const ask = (sql: string, values: string[]) => database.query(sql, values)
  // Held until this process ends: a second set-up waits for the first, then finds its work done.
  await ask(`select pg_advisory_lock(${LOCK})`, [])
  await prepareRecord(ask)
  await medusa("db:migrate", "--execute-safe-links", "--execute-safe-search")
  await medusa("exec", "./src/scripts/shop.js")
  await record(ask, setUpVersion())
  if (credentialsVersion() > 1) await record(ask, credentialsRecord())
  await database.end()
  console.log(`set-up ${setUpVersion()} has completed`)
}

main().catch((error: Error) => {
  console.error(error.message)
  process.exit(1)
})
