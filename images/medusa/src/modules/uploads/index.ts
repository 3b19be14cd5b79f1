import { ModuleProvider, Modules } from "@medusajs/framework/utils"
import { Uploads } from "./service"

export default ModuleProvider(Modules.FILE, { services: [Uploads] })
