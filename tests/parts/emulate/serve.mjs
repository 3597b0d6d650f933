// GitHub's API, Google's and Microsoft's login with Gmail and Graph behind them: npm `emulate`, as it comes.
//
// Known blind spots, which is why a test asserts on the header that arrived and never on 200 alone: GitHub's part takes
// an unknown bearer token for its first user, and no client needs to be registered at Google's or Microsoft's.

import { createEmulator } from 'emulate';
import { announce } from './service.mjs';

const people = [{ email: 'dana@example.com', name: 'Dana' }];
const seed = {
  github: {
    users: [{ login: 'dana', name: 'Dana', email: 'dana@example.com' }],
    repos: [{ owner: 'dana', name: 'site', auto_init: true }],
  },
  google: {
    users: people,
    messages: [{ id: 'msg_first', user_email: 'dana@example.com', from: 'ann@example.com', to: 'dana@example.com', subject: 'first', body_text: 'hello' }],
  },
  microsoft: { users: people },
};

const addresses = {};
for (const service of Object.keys(seed)) {
  const emulator = await createEmulator({ service, port: 0, hostname: '127.0.0.1', seed });
  addresses[service] = `http://127.0.0.1:${new URL(emulator.url).port}`;
}
announce(addresses);
