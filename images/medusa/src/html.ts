const ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" }

/** Returns `text` as it may stand in HTML. */
export function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character])
}
