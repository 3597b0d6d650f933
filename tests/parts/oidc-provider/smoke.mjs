// Proves that the authorization server and the resource server are what the tests take them for.
//
// If a new version stopped ending families on reuse, every test that says "no reuse happened" would go on passing and
// mean nothing. So this runs before the tests. Argument: the path of `parts.json`.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';

const { oidc } = JSON.parse(readFileSync(process.argv[2]));
const redirectUri = 'http://127.0.0.1:8444/callback/smoke';
const form = { 'content-type': 'application/x-www-form-urlencoded' };

async function json(url, options) {
  const response = await fetch(url, options);
  return { status: response.status, body: await response.json(), headers: response.headers };
}

const post = (url, value) => json(url, { method: 'POST', body: JSON.stringify(value), headers: { 'content-type': 'application/json' } });

async function register(metadata = {}) {
  const { status, body } = await post(`${oidc.issuer}/reg`, {
    application_type: 'native', redirect_uris: [redirectUri], response_types: ['code'],
    grant_types: ['authorization_code', 'refresh_token'], token_endpoint_auth_method: 'client_secret_basic', ...metadata,
  });
  assert.equal(status, 201, JSON.stringify(body));
  return body;
}

/** A browser that keeps cookies, and goes through login and consent until the client's own address. */
async function consent(client, challenge, login) {
  const jar = new Map();
  const go = async (address, options = {}) => {
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
    const response = await fetch(new URL(address, oidc.issuer), { redirect: 'manual', ...options, headers: { ...options.headers, cookie } });
    for (const line of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      if (value === '') jar.delete(name);
      else jar.set(name, value);
    }
    return response;
  };
  const query = { client_id: client.client_id, response_type: 'code', redirect_uri: redirectUri, scope: 'openid email', state: 's1' };
  let address = `/auth?${new URLSearchParams({ ...query, code_challenge: challenge, code_challenge_method: 'S256' })}`;
  for (let steps = 0; steps < 12; steps += 1) {
    let response = await go(address);
    if (response.status === 200) {
      const page = await response.text();
      const action = /action="([^"]+)"/.exec(page)[1];
      const prompt = /name="prompt" value="(\w+)"/.exec(page)[1];
      response = await go(action, { method: 'POST', headers: form, body: new URLSearchParams({ prompt, login, password: 'any' }) });
    }
    address = response.headers.get('location');
    if (address.startsWith(redirectUri)) return new URL(address).searchParams;
  }
  throw new Error('the consent pages lead nowhere');
}

const basic = (client) => `Basic ${Buffer.from(`${client.client_id}:${client.client_secret}`).toString('base64')}`;

const token = (client, parameters) =>
  json(`${oidc.issuer}/token`, { method: 'POST', headers: { ...form, authorization: basic(client) }, body: new URLSearchParams(parameters) });

const refresh = (client, refreshToken) => token(client, { grant_type: 'refresh_token', refresh_token: refreshToken });

async function connect(client, login) {
  const verifier = randomBytes(32).toString('base64url');
  const answer = await consent(client, createHash('sha256').update(verifier).digest('base64url'), login);
  assert.equal(answer.get('iss'), oidc.issuer, 'the answer names its issuer (RFC 9207)');
  assert.equal(answer.get('state'), 's1');
  const exchanged = await token(client, { grant_type: 'authorization_code', code: answer.get('code'), code_verifier: verifier, redirect_uri: redirectUri });
  assert.equal(exchanged.status, 200, JSON.stringify(exchanged.body));
  return exchanged.body;
}

const counters = async (client) => (await json(`${oidc.admin}/counters?client_id=${client.client_id}`)).body;
const behave = (client, behaviour) => post(`${oidc.admin}/behaviour?client_id=${client.client_id}`, behaviour);
const call = (accessToken, path) => json(`${oidc.resource}${path}`, { headers: { authorization: `Bearer ${accessToken}` } });

async function reuseEndsTheFamily() {
  const client = await register();
  const first = await connect(client, 'dana');
  assert.equal(first.expires_in, 30);
  const second = (await refresh(client, first.refresh_token)).body;
  assert.notEqual(second.refresh_token, first.refresh_token, 'a refresh rotates');
  assert.equal((await call(second.access_token, '/smoke/me')).body.login, 'dana');
  assert.equal((await refresh(client, first.refresh_token)).body.error, 'invalid_grant');
  assert.equal((await refresh(client, second.refresh_token)).body.error, 'invalid_grant', 'reuse ends the family');
  assert.equal((await call(second.access_token, '/smoke/me')).status, 401, 'and what was issued with it');
  const { code_exchanges, refreshes_ok, refreshes_failed, reuse_detected, families_revoked, token_requests } = await counters(client);
  assert.deepEqual([code_exchanges, refreshes_ok, refreshes_failed, reuse_detected, families_revoked, token_requests], [1, 1, 2, 1, 1, 4]);
}

async function aRaceIsCountedExactly() {
  const client = await register();
  const { refresh_token } = await connect(client, 'ops');
  const answers = await Promise.all(Array.from({ length: 8 }, () => refresh(client, refresh_token)));
  assert.equal(answers.filter((answer) => answer.status === 200).length, 1);
  const { refreshes_ok, refreshes_failed, reuse_detected, families_revoked, presented_twice } = await counters(client);
  assert.deepEqual([refreshes_ok, refreshes_failed, reuse_detected, families_revoked, presented_twice], [1, 7, 7, 1, 7]);
}

async function lifetimesBehavioursAndRevocationHold() {
  const client = await register({ access_token_ttl: 2 });
  const first = await connect(client, 'kim');
  assert.equal(first.expires_in, 2, 'a client may have its own lifetime');
  await behave(client, { status: 503, retry_after: 7, times: 1 });
  const busy = await refresh(client, first.refresh_token);
  assert.deepEqual([busy.status, busy.headers.get('retry-after')], [503, '7']);
  const second = (await refresh(client, first.refresh_token)).body;
  assert.equal((await counters(client)).presented_twice, 1, 'a token that was never consumed counts as well');
  await behave(client, { drop_after_commit: true, times: 1 });
  await assert.rejects(refresh(client, second.refresh_token), 'the answer is lost');
  const { refreshes_ok, refused_by_behaviour } = await counters(client);
  assert.deepEqual([refreshes_ok, refused_by_behaviour], [2, 1], 'but the provider committed');
  assert.equal((await post(`${oidc.admin}/revoke-grants?client_id=${client.client_id}`, {})).body.revoked, 1);
  assert.equal((await call(second.access_token, '/smoke/me')).status, 401);
}

async function theResourceServerBelievesNobody() {
  const path = `/smoke/${randomBytes(6).toString('hex')}`;
  const refused = await call('nobody', `${path}/x`);
  assert.equal(refused.status, 401);
  assert.match(refused.headers.get('www-authenticate'), /invalid_token/);
  const { body } = await json(`${oidc.resource_admin}/seen?path=${path}`);
  const last = createHash('sha256').update('Bearer nobody').digest('hex');
  assert.deepEqual(body, { calls: 1, ok: 0, unauthorized: 1, last_authorization_sha256: last, authorizations_sha256: [last] });
}

await Promise.all([reuseEndsTheFamily(), aRaceIsCountedExactly(), lifetimesBehavioursAndRevocationHold(), theResourceServerBelievesNobody()]);
