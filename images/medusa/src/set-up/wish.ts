import { readFileSync } from "node:fs"

/** What the shop shall be. Currency and country are in lower case, as Medusa writes them. */
export interface Wish {
  title: string
  adminEmail: string
  adminPassword: string
  currency: string
  country: string
  sampleProduct: boolean
}

/** Reads the wish from the environment; the password from a file, since an environment is easily shown. */
export function wishFromEnvironment(): Wish {
  return {
    title: required("STORE_TITLE"),
    adminEmail: required("STORE_ADMIN_EMAIL").toLowerCase(),
    adminPassword: readFileSync(required("STORE_ADMIN_PASSWORD_FILE"), "utf8").trimEnd(),
    currency: required("STORE_CURRENCY").toLowerCase(),
    country: required("STORE_COUNTRY").toLowerCase(),
    sampleProduct: process.env.STORE_SAMPLE_PRODUCT !== "false",
  }
}

function required(name: string): string {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set`)
  return value
}
