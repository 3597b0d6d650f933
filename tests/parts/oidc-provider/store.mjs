// The authorization server's memory: everything that it issued, kept until it expires.
//
// The adapter that comes with oidc-provider forgets entries beyond the newest thousand, which a test with hundreds
// of concurrent calls would notice as tokens that die early. This one forgets only what has expired.

const SWEEP_MS = 60_000;

/** model -> id -> { payload, until } */
const models = new Map();

const SECRETS = ['AccessToken', 'AuthorizationCode', 'RefreshToken'];
/** client id -> every code and token it was ever given, kept after they die: what a leak is looked for by. */
const issued = new Map();

/** Every code and token that a client was ever given. */
export const issuedTo = (clientId) => [...(issued.get(clientId) ?? [])];

const living = (entry) => entry && entry.until > Date.now();

function entries(model) {
  if (!models.has(model)) models.set(model, new Map());
  return models.get(model);
}

setInterval(() => {
  for (const kept of models.values()) {
    for (const [id, entry] of kept) if (!living(entry)) kept.delete(id);
  }
}, SWEEP_MS).unref();

/** One model's storage, with the methods that oidc-provider asks for. */
export class Store {
  constructor(model) {
    this.kept = entries(model);
    this.isSecret = SECRETS.includes(model);
  }

  async upsert(id, payload, expiresIn) {
    if (this.isSecret) issued.set(payload.clientId, new Set(issued.get(payload.clientId)).add(id));
    this.kept.set(id, { payload, until: expiresIn ? Date.now() + expiresIn * 1000 : Infinity });
  }

  async find(id) {
    const entry = this.kept.get(id);
    return living(entry) ? entry.payload : undefined;
  }

  async findBy(key, value) {
    for (const entry of this.kept.values()) if (living(entry) && entry.payload[key] === value) return entry.payload;
    return undefined;
  }

  findByUid(uid) {
    return this.findBy('uid', uid);
  }

  findByUserCode(userCode) {
    return this.findBy('userCode', userCode);
  }

  async consume(id) {
    this.kept.get(id).payload.consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    this.kept.delete(id);
  }

  async revokeByGrantId(grantId) {
    for (const [id, entry] of this.kept) if (entry.payload.grantId === grantId) this.kept.delete(id);
  }
}

/** Ends every grant of one client, with all that was issued under it; returns how many there were. */
export function revokeGrants(clientId) {
  let revoked = 0;
  for (const [grantId, entry] of entries('Grant')) {
    if (entry.payload.clientId !== clientId) continue;
    entries('Grant').delete(grantId);
    for (const model of SECRETS) {
      for (const [id, kept] of entries(model)) if (kept.payload.grantId === grantId) entries(model).delete(id);
    }
    revoked += 1;
  }
  return revoked;
}
