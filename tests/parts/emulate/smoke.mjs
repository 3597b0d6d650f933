// Proves that these servers are what the tests take them for: a repository and an issue that stays, a login that yields
// tokens, a refresh that wants the refresh token, and data behind the access token. Argument: the path of `parts.json`.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

const { emulate } = JSON.parse(readFileSync(process.argv[2]));
const redirect_uri = 'http://127.0.0.1:8444/callback/smoke';
const client = { client_id: 'smoke', client_secret: 'smoke' };

async function json(url, options) {
  const response = await fetch(url, { redirect: 'manual', ...options });
  return { status: response.status, headers: response.headers, body: await response.json().catch(() => null) };
}
const post = (url, form) => json(url, { method: 'POST', body: new URLSearchParams(form) });
const bearer = (token) => ({ headers: { authorization: `Bearer ${token}` } });

const issues = `${emulate.github}/repos/dana/site/issues`;
const before = (await json(issues, bearer('any'))).body.length;
const made = await json(issues, { method: 'POST', body: JSON.stringify({ title: 'smoke' }), headers: { authorization: 'token any', 'content-type': 'application/json' } });
assert.equal(made.status, 201);
assert.equal((await json(issues, bearer('any'))).body.length, before + 1);
assert.equal((await json(`${emulate.github}/user`, bearer('any'))).body.login, 'dana');
assert.equal((await json(`${emulate.github}/user`)).status, 401);

for (const [base, callback, token, me] of [
  [emulate.google, '/o/oauth2/v2/auth/callback', '/oauth2/token', '/gmail/v1/users/me/messages'],
  [emulate.microsoft, '/oauth2/v2.0/authorize/callback', '/oauth2/v2.0/token', '/v1.0/me'],
]) {
  const consent = await post(base + callback, { email: 'dana@example.com', redirect_uri, scope: 'openid', state: 's1', ...client });
  assert.equal(consent.status, 302);
  const code = new URL(consent.headers.get('location')).searchParams.get('code');
  const exchange = { grant_type: 'authorization_code', code, redirect_uri, ...client };
  const tokens = await post(base + token, exchange);
  assert.equal(tokens.status, 200, JSON.stringify(tokens.body));
  assert.equal((await post(base + token, exchange)).body.error, 'invalid_grant');
  const refresh = { grant_type: 'refresh_token', ...client };
  assert.equal((await post(base + token, { ...refresh, refresh_token: 'made up' })).body.error, 'invalid_grant');
  assert.equal((await post(base + token, { ...refresh, refresh_token: tokens.body.refresh_token })).status, 200);
  assert.equal((await json(base + me, bearer(tokens.body.access_token))).status, 200);
  assert.equal((await json(base + me)).status, 401);
}
