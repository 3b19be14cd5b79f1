import { LocalFileService } from "@medusajs/medusa/file-local"

/** Files on the shop's own volume, at addresses without a host: pictures stay where they are when the shop moves. */
export class Uploads extends LocalFileService {
  static identifier = "uploads"

  constructor(container: unknown, options: object) {
    super(container, options)
    const address = (key: string) => `/static/${key.split("/").map(encodeURIComponent).join("/")}`
    // A field of the instance and private to its class, as it is compiled.
    Object.assign(this, { getUploadFileUrl: address })
  }
}
