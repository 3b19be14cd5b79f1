/** What both a plain connection and Medusa's own can do. */
type Ask = (sql: string, values: string[]) => Promise<{ rows: unknown[] }>

const ADMINISTRATOR = "administrator/"

/** Makes the table that tells which set-ups have completed. Medusa's own tables would be the owner's to change. */
export async function prepareRecord(ask: Ask): Promise<void> {
  await ask(
    "create table if not exists storeplatform_setup (version text primary key, completed_at timestamptz not null default now())",
    [],
  )
}

/** Whether any set-up has completed: from then on every choice is the owner's. */
export async function isAnyRecorded(ask: Ask): Promise<boolean> {
  return (await ask(`select 1 from storeplatform_setup where not starts_with(version, '${ADMINISTRATOR}') limit 1`, [])).rows.length > 0
}

/** Whether the set-up called `version` has completed. */
export async function isRecorded(ask: Ask, version: string): Promise<boolean> {
  const { rows } = await ask("select to_regclass('storeplatform_setup') as found", [])
  if (!(rows[0] as { found: string | null }).found) return false
  return (await ask("select 1 from storeplatform_setup where version = $1", [version])).rows.length > 0
}

/** Writes down that the set-up called `version` has completed. */
export async function record(ask: Ask, version: string): Promise<void> {
  await ask("insert into storeplatform_setup (version) values ($1) on conflict do nothing", [version])
}

/** The e-mail address under which the administrator was made or renamed last; `null` before the first set-up. */
export async function recordedAdministrator(ask: Ask): Promise<string | null> {
  const sql = `select substr(version, ${ADMINISTRATOR.length + 1}) as email from storeplatform_setup
    where starts_with(version, '${ADMINISTRATOR}') order by completed_at desc limit 1`
  const [found] = (await ask(sql, [])).rows as { email: string }[]
  return found?.email ?? null
}

/** Writes down under which e-mail address the administrator logs in. */
export async function recordAdministrator(ask: Ask, email: string): Promise<void> {
  const sql = `insert into storeplatform_setup (version) values ($1)
    on conflict (version) do update set completed_at = clock_timestamp()`
  await ask(sql, [ADMINISTRATOR + email])
}
