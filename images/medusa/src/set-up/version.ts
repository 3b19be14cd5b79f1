import { readFileSync } from "node:fs"
import { join } from "node:path"

/** Names what a set-up makes: the version of the image and that of the wish. Both the server and the Job have it. */
export function setUpVersion(): string {
  const image: { version: string } = JSON.parse(readFileSync(join(process.cwd(), "package.json"), "utf8"))
  return `${image.version}/${process.env.STORE_SETUP_VERSION ?? "1"}`
}

/** Grows by one whenever the Secret's passwords were replaced. */
export function credentialsVersion(): number {
  return Number(process.env.STORE_CREDENTIALS_VERSION ?? "1")
}

/** Names the replacement of the passwords in the record of set-ups. */
export function credentialsRecord(): string {
  return `credentials/${credentialsVersion()}`
}
