/** helm test: a shopper finds a product and puts it into a cart. Takes the address of the shop. */
async function main(base: string): Promise<void> {
  const ask = async (path: string, options: RequestInit = {}) => {
    const answer = await fetch(base + path, options)
    if (!answer.ok) throw new Error(`${path} answered ${answer.status}`)
    return answer.json()
  }
  const { publishable_key: key } = await ask("/store-config")
  const headers = { "x-publishable-api-key": key, "content-type": "application/json" }
  const { regions } = await ask("/store/regions", { headers })
  const { products } = await ask(`/store/products?limit=1&region_id=${regions[0]?.id}`, { headers })
  if (!products.length) throw new Error("the catalogue is empty")
  const body = JSON.stringify({ region_id: regions[0].id, items: [{ variant_id: products[0].variants[0].id, quantity: 1 }] })
  const { cart } = await ask("/store/carts", { method: "POST", headers, body })
  console.log(`the shop sells ${products[0].title} for ${cart.total} ${cart.currency_code}`)
}

main(process.argv[2]).catch((error: Error) => {
  console.error(error.message)
  process.exit(1)
})
