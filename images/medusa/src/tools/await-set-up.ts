/** Ends once the set-up of this image is recorded: without its tables the server would end at once, again and again. */
import { setTimeout as pause } from "node:timers/promises"
import { connected } from "../set-up/database"
import { isRecorded } from "../set-up/record"
import { setUpVersion } from "../set-up/version"

async function main(): Promise<void> {
  const version = setUpVersion()
  for (let told = false; ; told = true) {
    const database = await connected(Number.POSITIVE_INFINITY)
    const found = await isRecorded((sql, values) => database.query(sql, values), version).catch(() => false)
    await database.end().catch(() => undefined)
    if (found) return
    if (!told) console.log(`waiting for set-up ${version}`)
    await pause(1000)
  }
}

main().catch((error: Error) => {
  console.error(error.message)
  process.exit(1)
})
