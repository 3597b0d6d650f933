// What every small server here shares: a JSON control port, the announcement, and an end that cannot be missed.
//
// A server announces its addresses as one line of JSON on standard output as soon as it answers, and ends when its
// standard input ends. Whoever started it holds the other end of that pipe, so however that process ends (also by
// SIGKILL), no server is left behind.

import { createServer } from 'node:http';

const BODY_LIMIT_BYTES = 64 * 1024;

/** Listens on a free port of 127.0.0.1 and resolves to its base address. */
export function listen(handler) {
  const server = createServer(handler);
  // Longer than any client here keeps a connection idle: an idle close never races a request.
  server.keepAliveTimeout = 300_000;
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve({ server, base: `http://127.0.0.1:${server.address().port}` }));
  });
}

/** Reads a request's whole body, up to a limit. */
export async function readBody(request) {
  const chunks = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > BODY_LIMIT_BYTES) throw new Error('the body is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

/** Answers with JSON. */
export function answer(response, status, value, headers = {}) {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));
}

/** A control port: `routes` maps `METHOD /path` to a function of (query, JSON body) that returns what to answer. */
export function control(routes) {
  return listen(async (request, response) => {
    const url = new URL(request.url, 'http://control');
    const route = routes[`${request.method} ${url.pathname}`];
    if (!route) return answer(response, 404, { error: `no such route; there are: ${Object.keys(routes).join(', ')}` });
    try {
      const body = await readBody(request);
      answer(response, 200, await route(url.searchParams, body ? JSON.parse(body) : {}));
    } catch (error) {
      answer(response, 400, { error: String(error.message ?? error) });
    }
  });
}

/** Says where the server answers, and ends with whoever started it. */
export function announce(addresses) {
  process.stdin.resume();
  for (const end of ['end', 'close', 'error']) process.stdin.on(end, () => process.exit(0));
  process.stdout.write(`${JSON.stringify(addresses)}\n`);
}
