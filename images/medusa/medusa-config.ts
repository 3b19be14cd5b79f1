import { defineConfig } from "@medusajs/framework/utils"

const redisUrl = process.env.REDIS_URL
const siteUrl = process.env.STORE_SITE_URL ?? ""
// Pages of the shop itself come from the same origin and need no leave; only other storefronts are named here.
const origins = [siteUrl, ...(process.env.STORE_ALLOWED_ORIGINS ?? "").split(",")].filter(Boolean).join(",")

module.exports = defineConfig({
  projectConfig: {
    databaseUrl: process.env.DATABASE_URL,
    // The database is in the shop's own namespace, where nobody else may connect.
    databaseDriverOptions: { connection: { ssl: false } },
    redisUrl,
    workerMode: process.env.MEDUSA_WORKER_MODE as "shared" | "worker" | "server" | undefined,
    http: {
      storeCors: origins,
      adminCors: origins,
      authCors: origins,
      jwtSecret: process.env.JWT_SECRET,
      cookieSecret: process.env.COOKIE_SECRET,
    },
    // A browser drops a secure cookie that comes over plain HTTP, and every login would loop.
    cookieOptions: { sameSite: "lax", secure: siteUrl.startsWith("https://") },
  },
  // Relative, so that one build serves every shop at every address.
  admin: { backendUrl: "/" },
  modules: [
    { resolve: "@medusajs/medusa/event-bus-redis", options: { redisUrl } },
    { resolve: "@medusajs/medusa/workflow-engine-redis", options: { redis: { redisUrl } } },
    {
      resolve: "@medusajs/medusa/caching",
      options: {
        providers: [
          { id: "caching-redis", resolve: "@medusajs/medusa/caching-redis", is_default: true, options: { redisUrl } },
        ],
      },
    },
    {
      resolve: "@medusajs/medusa/locking",
      options: {
        providers: [
          { id: "locking-redis", resolve: "@medusajs/medusa/locking-redis", is_default: true, options: { redisUrl } },
        ],
      },
    },
    {
      resolve: "@medusajs/medusa/file",
      options: { providers: [{ id: "uploads", resolve: "./src/modules/uploads" }] },
    },
  ],
})
