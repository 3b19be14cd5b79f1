"use strict"

/** The shopper's side of the Store API: catalogue, cart and an order that is paid on delivery. */
const CART = "cart"
const MANUAL_PAYMENT = "pp_system_default"
const CART_FIELDS = "*items,*region,*shipping_methods"
const PRODUCT_FIELDS = "*variants.calculated_price,+variants.inventory_quantity"

const at = (id) => document.getElementById(id)
const shop = { key: "", region: null, cart: null }

async function call(method, path, body) {
  const answer = await fetch(`/store${path}`, {
    method,
    headers: { "x-publishable-api-key": shop.key, "content-type": "application/json" },
    body: body && JSON.stringify(body),
  })
  const told = await answer.json().catch(() => ({}))
  if (!answer.ok) throw Object.assign(new Error(told.message || `The shop answered ${answer.status}.`), { status: answer.status })
  return told
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties)
  made.append(...children)
  return made
}

function money(amount, currency = shop.region.currency_code) {
  return new Intl.NumberFormat(undefined, { style: "currency", currency }).format(amount)
}

function say(error) {
  at("notice").textContent = error ? error.message : ""
  at("notice").hidden = !error
}

/** Runs what a button starts: the button rests meanwhile, and what goes wrong is said. */
async function busy(button, work) {
  button.disabled = true
  say(null)
  try {
    await work()
  } catch (error) {
    say(error)
  } finally {
    button.disabled = false
  }
}

async function currentCart() {
  const known = localStorage.getItem(CART)
  if (known) {
    try {
      const { cart } = await call("GET", `/carts/${known}?fields=${CART_FIELDS}`)
      if (!cart.completed_at) return cart
    } catch (error) {
      if (error.status !== 404) throw error
    }
    localStorage.removeItem(CART)
  }
  return null
}

async function addToCart(variant) {
  if (!shop.cart) {
    const { cart } = await call("POST", "/carts", { region_id: shop.region.id })
    localStorage.setItem(CART, cart.id)
    shop.cart = cart
  }
  await call("POST", `/carts/${shop.cart.id}/line-items`, { variant_id: variant, quantity: 1 })
  await showCart()
}

function productCard(product) {
  const variants = (product.variants ?? []).filter((variant) => variant.calculated_price)
  const choice = element("select", { ariaLabel: "Variant" })
  for (const variant of variants) choice.append(element("option", { value: variant.id }, variant.title))
  const price = element("span", { className: "price" })
  const button = element("button", { type: "button" }, "Add to cart")
  const chosen = () => variants.find((variant) => variant.id === choice.value)
  const update = () => {
    const variant = chosen()
    const soldOut = !variant || (variant.manage_inventory && !variant.allow_backorder && variant.inventory_quantity < 1)
    price.textContent = variant ? money(variant.calculated_price.calculated_amount) : ""
    button.disabled = soldOut
    button.textContent = soldOut ? "Sold out" : "Add to cart"
  }
  choice.addEventListener("change", update)
  button.addEventListener("click", () => busy(button, () => addToCart(choice.value)))
  update()
  const picture = product.thumbnail
    ? element("img", { src: product.thumbnail, alt: "" })
    : element("div", { className: "picture" })
  const card = element("article", {}, picture, element("h2", {}, product.title), element("p", {}, product.description ?? ""))
  if (variants.length > 1) card.append(choice)
  card.append(price, button)
  return card
}

async function showCatalogue() {
  const query = new URLSearchParams({ region_id: shop.region.id, fields: PRODUCT_FIELDS, limit: "100" })
  const { products } = await call("GET", `/products?${query}`)
  at("catalogue").replaceChildren(...products.map(productCard))
  if (!products.length) at("catalogue").append(element("p", {}, "There is nothing to buy yet."))
}

function line(item) {
  const remove = element("button", { type: "button", ariaLabel: `Remove ${item.product_title}` }, "×")
  remove.addEventListener("click", () =>
    busy(remove, async () => {
      await call("DELETE", `/carts/${shop.cart.id}/line-items/${item.id}`)
      await showCart()
    }),
  )
  const name = item.product_title + (item.variant_title ? `, ${item.variant_title}` : "")
  return element("li", {}, `${item.quantity} × ${name}`, element("span", {}, money(item.unit_price * item.quantity), " ", remove))
}

async function showCart() {
  shop.cart = await currentCart()
  const items = shop.cart?.items ?? []
  at("count").textContent = items.reduce((sum, item) => sum + item.quantity, 0)
  at("lines").replaceChildren(...items.map(line))
  if (!items.length) at("lines").append(element("li", {}, "The cart is empty."))
  at("total").value = shop.cart ? money(shop.cart.total) : ""
  // Only then: an order without a way of delivery would be refused.
  if (items.length) await showDelivery()
  at("checkout").hidden = !items.length
}

async function showDelivery() {
  const { shipping_options: options } = await call("GET", `/shipping-options?cart_id=${shop.cart.id}`)
  const choices = options.map((option, position) =>
    element(
      "label",
      {},
      element("input", { type: "radio", name: "option_id", value: option.id, required: true, checked: position === 0 }),
      `${option.name}, ${money(option.amount)}`,
    ),
  )
  at("delivery").replaceChildren(element("legend", {}, "Delivery"), ...choices)
  if (!choices.length) at("delivery").append(element("p", {}, "Nothing can be delivered at the moment."))
  const added = options[0] && !shop.cart.shipping_methods.length ? options[0].amount : 0
  at("total").value = money(shop.cart.total + added)
}

/** Places the order in the steps that the Store API asks for; a step that was done may be done again. */
async function order(form) {
  const given = Object.fromEntries(new FormData(form))
  const { email, option_id: option, ...address } = given
  const cart = `/carts/${shop.cart.id}`
  await call("POST", cart, { email, shipping_address: address, billing_address: address })
  await call("POST", `${cart}/shipping-methods`, { option_id: option })
  const { payment_collection: payment } = await call("POST", "/payment-collections", { cart_id: shop.cart.id })
  await call("POST", `/payment-collections/${payment.id}/payment-sessions`, { provider_id: MANUAL_PAYMENT })
  const done = await call("POST", `${cart}/complete`)
  if (done.type !== "order") throw new Error(done.error?.message ?? "The order could not be placed.")
  localStorage.removeItem(CART)
  return done.order
}

function showThanks(placed) {
  at("number").textContent = `#${placed.display_id}`
  at("paid").textContent = money(placed.total, placed.currency_code)
  for (const part of ["catalogue", "cart", "open-cart"]) at(part).hidden = true
  at("thanks").hidden = false
}

async function open() {
  const told = await fetch("/store-config")
  if (!told.ok) throw new Error(`The shop answered ${told.status}.`)
  shop.key = (await told.json()).publishable_key
  const { regions } = await call("GET", "/regions")
  if (!regions.length) throw new Error("The shop does not sell anywhere yet.")
  shop.region = regions[0]
  const countries = shop.region.countries.map((one) => element("option", { value: one.iso_2 }, one.display_name))
  document.forms.checkout.elements.country_code.replaceChildren(...countries)
  await Promise.all([showCatalogue(), showCart()])
}

at("open-cart").addEventListener("click", () => {
  const opened = at("cart").toggleAttribute("hidden") === false
  at("open-cart").setAttribute("aria-expanded", String(opened))
  if (opened) at("cart").scrollIntoView()
})
at("checkout").addEventListener("submit", (event) => {
  event.preventDefault()
  const form = event.target
  busy(form.querySelector("[type=submit]"), async () => showThanks(await order(form)))
})
open().catch((error) => {
  at("catalogue").replaceChildren()
  say(error)
})
