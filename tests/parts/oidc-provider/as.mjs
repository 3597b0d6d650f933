// A real, strict authorization server for the tests: oidc-provider with rotation and reuse detection.
//
// A refresh token is good once; presenting it again ends its whole family. Clients register themselves (RFC 7591),
// so each test has its own and the numbers of one say nothing about another. `access_token_ttl` and
// `refresh_token_ttl` (seconds) are client metadata. Login and consent are the provider's own development pages:
// any `login` is an account.
//
// Its control port, for tests only:
//   GET  /counters?client_id=…       what happened at the token endpoint (counters.mjs)
//   GET  /issued?client_id=…         every code and token that it was ever given: what a leak is looked for by
//   POST /revoke-grants?client_id=…  the provider ends every grant of that client
//   POST /behaviour?client_id=…      how the token endpoint treats that client from now on; `{}` resets:
//     delay_ms           wait before anything is processed
//     status, retry_after, body   answer this instead, before anything is processed
//     drop_before        close the connection before anything is processed
//     delay_after_ms     process, then hold the answer back
//     garbage            process, then answer 200 with something that is no token
//     drop_after_commit  process, then close the connection without an answer
//     times              wear off after so many requests

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import Provider from 'oidc-provider';
import { arrived, behave, countersOf, takeBehaviour, watch } from './counters.mjs';
import { announce, answer, control, listen, readBody } from './service.mjs';
import { Store, issuedTo, revokeGrants } from './store.mjs';

const ACCESS_TOKEN_SECS = 30;
const REFRESH_TOKEN_SECS = 3600;
const DAY_SECS = 24 * 3600;

const configuration = {
  adapter: Store,
  jwks: { keys: [generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' })] },
  cookies: { keys: [randomBytes(32).toString('hex')] },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
  expiresWithSession: async () => false,
  scopes: ['openid', 'offline_access', 'profile', 'email'],
  claims: { openid: ['sub'], email: ['email'], profile: ['name'] },
  findAccount: (_ctx, sub) => ({
    accountId: sub,
    claims: async () => ({ sub, email: `${sub}@example.com`, name: `Account ${sub}` }),
  }),
  extraClientMetadata: {
    properties: ['access_token_ttl', 'refresh_token_ttl'],
    validator(_ctx, key, value) {
      if (value !== undefined && !(value > 0)) throw new Error(`${key} is a number of seconds`);
    },
  },
  ttl: {
    AccessToken: (_ctx, _token, client) => client.access_token_ttl ?? ACCESS_TOKEN_SECS,
    RefreshToken: (_ctx, _token, client) => client.refresh_token_ttl ?? REFRESH_TOKEN_SECS,
    AuthorizationCode: 60, IdToken: 300, Grant: DAY_SECS, Interaction: 600, Session: DAY_SECS,
  },
  features: {
    devInteractions: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    registration: { enabled: true },
    userinfo: { enabled: true },
  },
};

/** The client of a token request, wherever it names itself (RFC 6749 §2.3.1). */
function clientOf(authorization, form) {
  const basic = /^Basic\s+(\S+)$/i.exec(authorization ?? '')?.[1];
  if (!basic) return form.get('client_id') ?? 'unknown';
  const name = Buffer.from(basic, 'base64').toString().split(':')[0];
  return decodeURIComponent(name.replaceAll('+', ' '));
}

/** Stands before the provider's token endpoint: counts, and misbehaves as told, before anything is processed. */
async function tokenRequest(request, response, next) {
  const body = await readBody(request);
  const form = new URLSearchParams(body);
  const client = clientOf(request.headers.authorization, form);
  const behaviour = takeBehaviour(client);
  arrived(client, form.get('refresh_token'));
  if (behaviour.delay_ms) await wait(behaviour.delay_ms);
  if (behaviour.drop_before || behaviour.status) countersOf(client).refused_by_behaviour += 1;
  if (behaviour.drop_before) return request.socket.destroy();
  if (behaviour.status) return refuse(response, behaviour);
  request.body = body;
  request.behaviour = behaviour;
  return next();
}

function refuse(response, behaviour) {
  const headers = behaviour.retry_after === undefined ? {} : { 'retry-after': String(behaviour.retry_after) };
  answer(response, behaviour.status, behaviour.body ?? { error: 'temporarily_unavailable' }, headers);
}

/** Wraps the provider: what is done to an answer after everything is committed. */
async function misbehaveAfter(ctx, next) {
  await next();
  const behaviour = ctx.req.behaviour ?? {};
  if (behaviour.delay_after_ms) await wait(behaviour.delay_after_ms);
  if (behaviour.drop_after_commit) {
    ctx.respond = false;
    ctx.req.socket.destroy();
  } else if (behaviour.garbage) {
    ctx.status = 200;
    ctx.type = 'text/html';
    ctx.body = '<html>it works';
  }
}

let handle;
const { base } = await listen((request, response) => {
  const isToken = request.method === 'POST' && request.url.split('?')[0] === '/token';
  if (!isToken) return handle(request, response);
  return tokenRequest(request, response, () => handle(request, response)).catch(() => request.socket.destroy());
});
const provider = new Provider(base, configuration);
watch(provider);
provider.use(misbehaveAfter);
provider.on('server_error', (_ctx, error) => console.error('server error:', error.message));
handle = provider.callback();

const admin = await control({
  'GET /counters': (query) => countersOf(query.get('client_id')),
  'GET /issued': (query) => issuedTo(query.get('client_id')),
  'POST /revoke-grants': (query) => ({ revoked: revokeGrants(query.get('client_id')) }),
  'POST /behaviour': (query, body) => behave(query.get('client_id'), body),
});
announce({ issuer: base, admin: admin.base });
