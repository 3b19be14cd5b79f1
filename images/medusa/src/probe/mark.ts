import { createHmac, timingSafeEqual } from "node:crypto"

/** Key of a cart's metadata, which its order inherits: `<mark>.<proof>`, the proof by the shop's probe token. */
export const MARK = "store_probe"

/** Key of the metadata of a cart that is never ordered. */
export const CHECK = "store_check"

const token = process.env.STORE_PROBE_TOKEN ?? ""

/** Whether `given` is the shop's probe token; nobody has it while the shop has none. */
export function isToken(given: string | undefined): boolean {
  return token !== "" && isSame(given ?? "", token)
}

/** Whether `mark` was made by somebody who has the token: a shopper may write metadata, but cannot prove it. */
export function isGenuine(mark: string): boolean {
  const [name, proof] = mark.split(".", 2)
  return token !== "" && isSame(proof ?? "", createHmac("sha256", token).update(name).digest("hex"))
}

function isSame(one: string, other: string): boolean {
  const digest = (text: string) => createHmac("sha256", "compare").update(text).digest()
  return timingSafeEqual(digest(one), digest(other))
}
