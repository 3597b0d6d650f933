// A strict resource server: it believes no token that the authorization server does not call active right now.
//
// Every request is introspected (RFC 7662), nothing is cached: a test that gets 200 here knows that a living token
// arrived. Started with the issuer's address as its argument; it registers its own client there.
//
// A path's last segment chooses what is answered (so a test may put its own path before it, and count by that):
//   …/me      the account             …/stream  five server-sent events
//   …/echo    the body, as it came    anything else: what the request was
//
// Its control port, for tests only:
//   GET /seen?client_id=…  calls of that client
//   GET /seen?path=…       calls of any client, also refused ones, whose path begins so
//   GET /seen              all calls
// each as {"calls", "ok", "unauthorized", "last_authorization_sha256", "authorizations_sha256"}: the hash of the last
// `Authorization` value and of every different one, in hexadecimal, never the value.

import { createHash } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { announce, answer, control, listen } from './service.mjs';

const EVENTS = 5;
const EVENT_PAUSE_MS = 20;

const [issuer] = process.argv.slice(2);
const seen = new Map();
const numbers = new Map();

const digest = (value) => createHash('sha256').update(value).digest('hex');

/** Registers this server as a client that may introspect. */
async function register() {
  const response = await fetch(`${issuer}/reg`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ redirect_uris: [], response_types: [], grant_types: [] }),
  });
  const client = await response.json();
  if (!client.client_secret) throw new Error(`the issuer did not register this server: ${JSON.stringify(client)}`);
  return `Basic ${Buffer.from(`${client.client_id}:${client.client_secret}`).toString('base64')}`;
}

const authorization = await register();

/**
 * What the issuer says of a token now; not active if it cannot be asked. It calls a living refresh token active as
 * well (RFC 7662 §2.2), and only an access token has a type.
 */
async function introspect(token) {
  const response = await fetch(`${issuer}/token/introspection`, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({ token }),
  });
  const claims = response.ok ? await response.json() : {};
  return claims.active && claims.token_type === 'Bearer' ? claims : { active: false };
}

/** Notes one call under its client and path. */
function note(client, path, ok, presented) {
  const key = `${client} ${path}`;
  const calls = seen.get(key) ?? { client, path, ok: 0, unauthorized: 0, all: new Set() };
  calls[ok ? 'ok' : 'unauthorized'] += 1;
  calls.last = presented === undefined ? null : digest(presented);
  calls.all.add(calls.last);
  // The newest stands last, so that a sum over several paths ends with the newest hash.
  seen.delete(key);
  seen.set(key, calls);
}

function sum(query) {
  const total = { calls: 0, ok: 0, unauthorized: 0, last_authorization_sha256: null };
  const all = new Set();
  for (const calls of seen.values()) {
    if (query.has('client_id') && calls.client !== query.get('client_id')) continue;
    if (query.has('path') && !calls.path.startsWith(query.get('path'))) continue;
    total.ok += calls.ok;
    total.unauthorized += calls.unauthorized;
    total.last_authorization_sha256 = calls.last;
    for (const one of calls.all) all.add(one);
  }
  total.calls = total.ok + total.unauthorized;
  total.authorizations_sha256 = [...all];
  return total;
}

function refuse(response) {
  answer(response, 401, { error: 'invalid_token' }, { 'www-authenticate': 'Bearer error="invalid_token"' });
}

async function stream(response) {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  for (let n = 1; n <= EVENTS; n += 1) {
    response.write(`id: ${n}\ndata: {"n":${n}}\n\n`);
    await wait(EVENT_PAUSE_MS);
  }
  response.end();
}

function echo(request, response) {
  const headers = {};
  for (const name of ['content-type', 'content-length']) if (request.headers[name]) headers[name] = request.headers[name];
  response.writeHead(200, headers);
  request.pipe(response);
}

async function serve(request, response) {
  const path = request.url.split('?')[0];
  const presented = request.headers.authorization;
  const token = /^Bearer (\S+)$/.exec(presented ?? '')?.[1];
  const claims = token ? await introspect(token) : { active: false };
  note(claims.active ? claims.client_id : 'unknown', path, claims.active, presented);
  if (!claims.active) return refuse(response);
  const n = (numbers.get(claims.client_id) ?? 0) + 1;
  numbers.set(claims.client_id, n);
  const last = path.split('/').at(-1);
  if (last === 'me') return answer(response, 200, { id: claims.sub, login: claims.sub, email: `${claims.sub}@example.com` });
  if (last === 'stream') return stream(response);
  if (last === 'echo') return echo(request, response);
  return answer(response, 200, { ok: true, sub: claims.sub, client_id: claims.client_id, path, method: request.method, n });
}

const resource = await listen((request, response) => {
  serve(request, response).catch((error) => {
    console.error('the issuer cannot be asked:', error.message);
    if (!response.headersSent) answer(response, 502, { error: 'the issuer cannot be asked' });
  });
});
const admin = await control({ 'GET /seen': sum });
announce({ resource: resource.base, resource_admin: admin.base });
