// Node's own `fetch`, unchanged: the calls of calls.py.

const token = { authorization: `Bearer ${process.env.GH_TOKEN}` };
const repository = 'https://api.github.com/repos/dana/site';
const issue = { method: 'POST', body: JSON.stringify({ title: 'not granted' }) };

for (const [url, options] of [
  [repository, { headers: token }],
  [`${repository}/issues`, { ...issue, headers: { ...token, 'content-type': 'application/json' } }],
  [repository, {}],
]) {
  const answer = await fetch(url, options);
  const body = await answer.json();
  const told = { status: answer.status, challenge: answer.headers.get('www-authenticate'), problem: body.type, name: body.full_name };
  console.log(JSON.stringify(told));
}
