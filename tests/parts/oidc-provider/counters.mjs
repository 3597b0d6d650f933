// What happened at the token endpoint, counted for each client.
//
// A test asks for these numbers to say "exactly one refresh": so they are taken from what the provider did (its
// events), not from what some client got to see. A presentation is counted as reuse when its token had already been
// rotated by this provider, whatever the provider then answered.

import { createHash } from 'node:crypto';

const counters = new Map();
const rotated = new Set();
const presented = new Set();
const ended = new Set();
const behaviours = new Map();

const digest = (token) => createHash('sha256').update(token).digest('base64');

/** The numbers of one client; all zero for one that was never seen. */
export function countersOf(clientId) {
  if (!counters.has(clientId)) {
    counters.set(clientId, {
      token_requests: 0, presented_twice: 0, code_exchanges: 0, refreshes_ok: 0, refreshes_failed: 0,
      reuse_detected: 0, replays_in_grace: 0, families_revoked: 0, refused_by_behaviour: 0,
    });
  }
  return counters.get(clientId);
}

/** Counts a request as it arrives: also one whose refresh token was never consumed is presented twice the second time. */
export function arrived(clientId, refreshToken) {
  const count = countersOf(clientId);
  count.token_requests += 1;
  if (!refreshToken) return;
  if (presented.has(digest(refreshToken))) count.presented_twice += 1;
  presented.add(digest(refreshToken));
}

/** How the token endpoint treats one client; an empty object is "as always". */
export function behaviourOf(clientId) {
  return behaviours.get(clientId) ?? {};
}

/** Sets it; an empty object resets. */
export function behave(clientId, behaviour) {
  if (Object.keys(behaviour).length === 0) behaviours.delete(clientId);
  else behaviours.set(clientId, { ...behaviour });
  return { client_id: clientId, behaviour: behaviourOf(clientId) };
}

/** Takes the behaviour for one request; with `times` it wears off. */
export function takeBehaviour(clientId) {
  const behaviour = behaviourOf(clientId);
  if (behaviour.times !== undefined) {
    behaviour.times -= 1;
    if (behaviour.times <= 0) behaviours.delete(clientId);
  }
  return behaviour;
}

/** Counts what the provider does from now on. */
export function watch(provider) {
  provider.on('grant.success', (ctx) => {
    const { client, params } = ctx.oidc;
    const count = countersOf(client.clientId);
    if (params.grant_type === 'authorization_code') count.code_exchanges += 1;
    if (params.grant_type === 'refresh_token') count.refreshes_ok += 1;
  });
  // The moment of rotation, which comes before the answer is made: others may be refused in between.
  provider.on('refresh_token.consumed', (token) => {
    if (rotated.has(digest(token.jti))) countersOf(token.clientId).reuse_detected += 1;
    rotated.add(digest(token.jti));
  });
  provider.on('grant.error', (ctx) => {
    const { client, params } = ctx.oidc ?? {};
    if (!client || params?.grant_type !== 'refresh_token') return;
    const count = countersOf(client.clientId);
    count.refreshes_failed += 1;
    if (params.refresh_token && rotated.has(digest(params.refresh_token))) count.reuse_detected += 1;
  });
  provider.on('grant.revoked', (ctx, grantId) => {
    if (!ctx.oidc?.client || ended.has(grantId)) return;
    ended.add(grantId);
    countersOf(ctx.oidc.client.clientId).families_revoked += 1;
  });
}
