// Drives the official client from npm, `mailgun.js`, through every call that it
// has for webhooks, signing keys, features, subaccounts, domains and API keys.
// The client is as published; only its base URL is ours.
//
//     NODE_MODULES=… node mailgun.mjs api BASE_URL API_KEY DOMAIN RECEIVER_URL TRANSPORT
//     NODE_MODULES=… node mailgun.mjs verify BASE_URL API_KEY < bodies.ndjson
//     NODE_MODULES=… node mailgun.mjs rate-limit BASE_URL API_KEY DOMAIN
//     NODE_MODULES=… node mailgun.mjs follow BASE_URL API_KEY DOMAIN BEGIN TOTAL
//
// The account of API_KEY has DOMAIN and nothing else yet. RECEIVER_URL answers
// 200 with a body of `received`, and 500 under `/fails`. One line is printed for
// each check; the first that fails ends the run with status 1.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(`${process.env.NODE_MODULES}/`);
const Mailgun = require('mailgun.js');

// The three ways in which the client's own manual has it made: they write
// multipart forms, and talk HTTP, each in a way of its own.
const TRANSPORTS = {
  http: { FormData, options: {} },
  fetch: { FormData, options: { useFetch: true } },
  'form-data': { FormData: require('form-data'), options: {} },
};

function connect(url, key, transport = 'http') {
  const { FormData, options } = TRANSPORTS[transport];
  return new Mailgun(FormData).client({ username: 'api', key, url, ...options });
}

async function check(name, body) {
  try {
    await body();
    console.log(`ok   ${name}`);
  } catch (error) {
    console.log(`FAIL ${name}`);
    console.error(describe(error));
    process.exit(1);
  }
}

function describe(error) {
  if (error?.type === 'MailgunAPIError') {
    return `the API answered ${error.status} ${error.message}: ${error.details}`;
  }
  return error?.stack ?? String(error);
}

/// The call fails as the client's own error, with one of these statuses, and says this.
async function refused(statuses, details, call) {
  let answer;
  try {
    answer = await call();
  } catch (error) {
    assert.equal(error.type, 'MailgunAPIError', describe(error));
    assert.ok([statuses].flat().includes(error.status), `wanted ${statuses}: ${describe(error)}`);
    assert.match(error.details, details);
    return error;
  }
  assert.fail(`wanted ${statuses}, and was answered ${JSON.stringify(answer)}`);
}

function isDate(value) {
  assert.ok(value instanceof Date && !Number.isNaN(value.getTime()), `${value} is no date`);
}

async function webhooks({ mg, stranger, domain, receiver }) {
  const hook = (name) => `https://hooks.example.net/${name}`;
  const [a, b, c] = ['a', 'b', 'c'].map(hook);

  await check('webhooks.list of a domain that has none', async () => {
    assert.deepEqual(await mg.webhooks.list(domain, {}), {});
  });
  await check('webhooks.create with one URL', async () => {
    const made = await mg.webhooks.create(domain, 'accepted', a);
    assert.deepEqual({ ...made }, { id: 'accepted', url: a, urls: [a] });
  });
  await check('webhooks.create with two URLs', async () => {
    const made = await mg.webhooks.create(domain, 'clicked', [b, a]);
    assert.deepEqual(made.urls, [b, a]);
  });
  await check('webhooks.list, whose limit and skip have no effect', async () => {
    const wanted = { accepted: { urls: [a] }, clicked: { urls: [b, a] } };
    assert.deepEqual(await mg.webhooks.list(domain, {}), wanted);
    assert.deepEqual(await mg.webhooks.list(domain, { limit: 1, skip: 1 }), wanted);
  });
  await check('webhooks.get', async () => {
    assert.deepEqual((await mg.webhooks.get(domain, 'clicked')).urls, [b, a]);
  });
  await check('webhooks.update replaces the list', async () => {
    assert.deepEqual((await mg.webhooks.update(domain, 'clicked', [c, b])).urls, [c, b]);
    assert.deepEqual((await mg.webhooks.get(domain, 'clicked')).urls, [c, b]);
    assert.deepEqual((await mg.webhooks.update(domain, 'clicked', c)).urls, [c]);
  });
  await check('webhooks.create of what there is: 400', async () => {
    await refused(400, /./, () => mg.webhooks.create(domain, 'clicked', a));
  });
  await check('webhooks.create with a fourth URL: 400', async () => {
    const urls = [a, b, c, hook('d')];
    await refused(400, /3 urls/, () => mg.webhooks.create(domain, 'opened', urls));
    await refused(400, /3 urls/, () => mg.webhooks.update(domain, 'clicked', urls));
  });
  await check('webhooks.create with an unknown id: 400', async () => {
    await refused(400, /./, () => mg.webhooks.create(domain, 'unheard_of', a));
  });
  await check('webhooks.create with what is no web URL: 400', async () => {
    const ftp = 'ftp://hooks.example.net/a';
    await refused(400, /not a valid url/, () => mg.webhooks.create(domain, 'opened', ftp));
  });
  await check('webhooks of a type that has none: 404', async () => {
    const said = /Webhook not found/;
    await refused(404, said, () => mg.webhooks.get(domain, 'opened'));
    await refused(404, said, () => mg.webhooks.update(domain, 'opened', a));
    await refused(404, said, () => mg.webhooks.destroy(domain, 'opened'));
  });
  await check('webhooks of an unknown domain: 404', async () => {
    const unknown = 'unknown.example';
    await refused(404, /Domain not found/, () => mg.webhooks.list(unknown, {}));
    await refused(404, /Domain not found/, () => mg.webhooks.create(unknown, 'clicked', a));
  });
  await check('webhooks with a wrong key: 401', async () => {
    await refused(401, /^Forbidden$/, () => stranger.webhooks.list(domain, {}));
  });
  await check('nothing of that has changed anything', async () => {
    const wanted = { accepted: { urls: [a] }, clicked: { urls: [c] } };
    assert.deepEqual(await mg.webhooks.list(domain, {}), wanted);
  });
  await check('the client calls unsubscribes by their old name', async () => {
    assert.deepEqual((await mg.webhooks.create(domain, 'unsubscribe', a)).urls, [a]);
    assert.deepEqual((await mg.webhooks.get(domain, 'unsubscribe')).urls, [a]);
    assert.ok('unsubscribe' in (await mg.webhooks.list(domain, {})));
    assert.deepEqual((await mg.webhooks.destroy(domain, 'unsubscribe')).urls, [a]);
  });
  await check('webhooks.create as a test says what the receiver answered', async () => {
    const good = await mg.webhooks.create(domain, 'clicked', `${receiver}/test`, true);
    assert.deepEqual(good, { code: null, message: 'received' });
    const bad = await mg.webhooks.create(domain, 'delivered', `${receiver}/fails`, true);
    assert.equal(bad.code, 500);
  });
  await check('webhooks.destroy answers what it removed', async () => {
    assert.deepEqual((await mg.webhooks.destroy(domain, 'clicked')).urls, [c]);
    assert.deepEqual((await mg.webhooks.destroy(domain, 'accepted')).urls, [a]);
    assert.deepEqual(await mg.webhooks.list(domain, {}), {});
  });
}

async function account({ mg, stranger }) {
  const { accountManagement } = mg;
  await check('accountManagement.getWebhookSigningKey', async () => {
    const answer = await accountManagement.getWebhookSigningKey();
    assert.equal(answer.status, 200);
    assert.match(answer.http_signing_key, /./);
    const again = await accountManagement.getWebhookSigningKey();
    assert.equal(again.http_signing_key, answer.http_signing_key);
  });
  await check('accountManagement.createWebhookSigningKey', async () => {
    const before = await accountManagement.getWebhookSigningKey();
    const made = await accountManagement.createWebhookSigningKey();
    assert.equal(made.message, 'regenerated HTTP signing key for account');
    assert.notEqual(made.http_signing_key, before.http_signing_key);
    const after = await accountManagement.getWebhookSigningKey();
    assert.equal(after.http_signing_key, made.http_signing_key);
  });
  await check('accountManagement with a wrong key: 401', async () => {
    const wrong = stranger.accountManagement;
    await refused(401, /^Forbidden$/, () => wrong.getWebhookSigningKey());
    await refused(401, /^Forbidden$/, () => wrong.createWebhookSigningKey());
  });
  await check('accountManagement.updateAccountSettings', async () => {
    const settings = { inactive_session_timeout: 3600, absolute_session_timeout: 86400 };
    const answer = await accountManagement.updateAccountSettings(settings);
    assert.deepEqual(answer, { status: 200, message: 'Account info has been updated' });
    await refused(400, /inactive_session_timeout/, () => accountManagement.updateAccountSettings({}));
  });
  await check('accountManagement.updateAccountFeature', async () => {
    const features = { webhooks_redact_pii: { enabled: true }, ai_insights: { enabled: false } };
    assert.deepEqual(await accountManagement.updateAccountFeature(features), { success: true });
    const off = { webhooks_redact_pii: { enabled: false } };
    assert.deepEqual(await accountManagement.updateAccountFeature(off), { success: true });
    const nothing = () => accountManagement.updateAccountFeature({});
    await refused(400, /No valid updates provided/, nothing);
  });
}

async function subaccounts({ mg, domain }) {
  const { subaccounts } = mg;
  let id;
  await check('subaccounts.list of an account that has none', async () => {
    assert.deepEqual(await subaccounts.list(), { subaccounts: [], total: 0 });
  });
  await check('subaccounts.create', async () => {
    const { subaccount } = await subaccounts.create(`sub of ${domain}`);
    assert.equal(subaccount.name, `sub of ${domain}`);
    assert.equal(subaccount.status, 'open');
    isDate(subaccount.created_at);
    isDate(subaccount.updated_at);
    id = subaccount.id;
    await refused(400, /./, () => subaccounts.create(''));
  });
  await check('subaccounts.get', async () => {
    const { subaccount } = await subaccounts.get(id);
    assert.equal(subaccount.id, id);
    isDate(subaccount.created_at);
    await refused(404, /./, () => subaccounts.get('0123456789abcdef01234567'));
  });
  await check('subaccounts.list with its parameters', async () => {
    await subaccounts.create(`another sub of ${domain}`);
    const all = await subaccounts.list({ sort: 'asc' });
    assert.equal(all.total, 2);
    assert.deepEqual(new Set(all.subaccounts.map(({ name }) => name)), new Set([
      `another sub of ${domain}`, `sub of ${domain}`]));
    const reversed = await subaccounts.list({ sort: 'desc' });
    const ids = ({ subaccounts }) => subaccounts.map((subaccount) => subaccount.id);
    assert.deepEqual(ids(reversed), ids(all).reverse());
    const second = await subaccounts.list({ sort: 'asc', limit: 1, skip: 1 });
    assert.deepEqual(ids(second), ids(all).slice(1));
    assert.equal(second.total, 2);
  });
  await check('subaccounts.updateSubaccountFeature', async () => {
    const { features } = await subaccounts.updateSubaccountFeature(id, {
      sending: true, validations: false });
    assert.deepEqual(features.sending, { enabled: true });
    assert.deepEqual(features.validations, { enabled: false });
    const unknown = '0123456789abcdef01234567';
    await refused(404, /./, () => subaccounts.updateSubaccountFeature(unknown, { sending: true }));
  });
  await check('subaccounts.setMonthlySendingLimit and getMonthlySendingLimit', async () => {
    await refused(404, /./, () => subaccounts.getMonthlySendingLimit(id));
    assert.deepEqual(await subaccounts.setMonthlySendingLimit(id, 5000), { success: true });
    assert.equal((await subaccounts.getMonthlySendingLimit(id)).limit, 5000);
  });
  await check('setSubaccount makes calls on its behalf', async () => {
    const own = await mg.accountManagement.getWebhookSigningKey();
    mg.setSubaccount(id);
    const its = await mg.accountManagement.getWebhookSigningKey();
    assert.notEqual(its.http_signing_key, own.http_signing_key);
    await mg.domains.create({ name: `sub.${domain}` });
    const url = 'https://hooks.example.net/sub';
    await mg.webhooks.create(`sub.${domain}`, 'opened', url);
    assert.deepEqual(await mg.webhooks.list(`sub.${domain}`, {}), { opened: { urls: [url] } });
    await refused(404, /Domain not found/, () => mg.webhooks.list(domain, {}));
    mg.setSubaccount('0123456789abcdef01234567');
    await refused(403, /Forbidden/, () => mg.webhooks.list(domain, {}));
    mg.resetSubaccount();
    assert.deepEqual(await mg.webhooks.list(domain, {}), {});
  });
  await check('subaccounts.disable', async () => {
    assert.equal((await subaccounts.disable(id)).subaccount.status, 'disabled');
    assert.equal((await subaccounts.get(id)).subaccount.status, 'disabled');
    await refused(400, /already disabled/, () => subaccounts.disable(id));
    const off = await subaccounts.list({ enabled: false });
    assert.deepEqual(off.subaccounts.map((subaccount) => subaccount.id), [id]);
    const on = await subaccounts.list({ enabled: true });
    assert.ok(!on.subaccounts.some((subaccount) => subaccount.id === id));
  });
  await check('subaccounts.enable', async () => {
    assert.equal((await subaccounts.enable(id)).subaccount.status, 'open');
    assert.equal((await subaccounts.get(id)).subaccount.status, 'open');
  });
  await check('subaccounts.destroy', async () => {
    const answer = await subaccounts.destroy(id);
    assert.equal(answer.message, 'Subaccount successfully deleted');
    const { subaccounts: left } = await subaccounts.list({ enabled: true });
    assert.ok(!left.some((subaccount) => subaccount.id === id));
    mg.setSubaccount(id);
    await refused(403, /Forbidden|closed/, () => mg.webhooks.list(`sub.${domain}`, {}));
    mg.resetSubaccount();
  });
}

async function domains({ mg, domain }) {
  const name = `second.${domain}`;
  await check('domains.list', async () => {
    const listed = await mg.domains.list();
    assert.deepEqual(listed.map((listed) => listed.name), [domain]);
    isDate(listed[0].created_at);
  });
  await check('domains.create', async () => {
    const made = await mg.domains.create({ name, wildcard: false });
    assert.equal(made.name, name);
    assert.ok(Array.isArray(made.sending_dns_records));
    await refused([400, 409], /./, () => mg.domains.create({ name }));
    await refused(400, /./, () => mg.domains.create({ name: 'no domain' }));
  });
  await check('domains.get', async () => {
    const got = await mg.domains.get(name);
    assert.equal(got.name, name);
    assert.match(got.id, /./);
    assert.match(got.state, /^(active|unverified|disabled)$/);
    isDate(got.created_at);
    assert.equal((await mg.domains.get(name, { extended: true, with_dns: false })).name, name);
    await refused(404, /Domain not found/, () => mg.domains.get('unknown.example'));
  });
  await check('domains.list with its parameters', async () => {
    const names = async (query) => (await mg.domains.list(query)).map((listed) => listed.name);
    assert.deepEqual(new Set(await names({})), new Set([domain, name]));
    assert.equal((await names({ limit: 1 })).length, 1);
    assert.equal((await names({ limit: 1, skip: 2 })).length, 0);
    assert.deepEqual(await names({ search: 'second' }), [name]);
  });
  await check('domains.update', async () => {
    assert.equal((await mg.domains.update(name, { webhooks_redact_pii: true })).name, name);
    await refused(404, /Domain not found/, () => mg.domains.update('unknown.example', {
      webhooks_redact_pii: true }));
  });
  await check('domains.verify', async () => {
    assert.equal((await mg.domains.verify(name)).name, name);
  });
  await check('domains.destroy', async () => {
    const { message } = await mg.domains.destroy(name);
    assert.equal(message, 'Domain will be deleted in the background');
    await refused(404, /Domain not found/, () => mg.domains.get(name));
    await refused(404, /Domain not found/, () => mg.domains.destroy(name));
  });
}

async function apiKeys({ mg, domain, connect }) {
  let made;
  await check('apiKeys.create', async () => {
    made = await mg.apiKeys.create({ role: 'admin', kind: 'user', description: 'a new key' });
    assert.match(made.id, /./);
    assert.match(made.secret, /./);
    assert.equal(made.role, 'admin');
    assert.equal(made.description, 'a new key');
    isDate(made.created_at);
    await refused(400, /role/, () => mg.apiKeys.create({ role: 'emperor' }));
    await refused(400, /expiration/, () => mg.apiKeys.create({ role: 'admin', expiration: '-1' }));
  });
  await check('a new key works at once', async () => {
    assert.deepEqual(await connect(made.secret).webhooks.list(domain, {}), {});
  });
  await check('apiKeys.list', async () => {
    const listed = await mg.apiKeys.list({ kind: 'user' });
    assert.equal(listed.status, 200);
    assert.equal(listed.totalCount, listed.items.length);
    const item = listed.items.find((item) => item.id === made.id);
    assert.equal(item.role, 'admin');
    assert.equal(item.is_disabled, false);
    isDate(item.updated_at);
    assert.ok(!('secret' in item), 'a secret is shown once');
  });
  await check('a key that may only read', async () => {
    const basic = await mg.apiKeys.create({ role: 'basic', expiration: '3600' });
    isDate(basic.expires_at);
    const reader = connect(basic.secret);
    assert.deepEqual(await reader.webhooks.list(domain, {}), {});
    const url = 'https://hooks.example.net/a';
    await refused(403, /Forbidden/, () => reader.webhooks.create(domain, 'clicked', url));
    await refused(403, /Forbidden/, () => reader.apiKeys.create({ role: 'admin' }));
    await mg.apiKeys.destroy(basic.id);
  });
  await check('apiKeys.destroy', async () => {
    const answer = await mg.apiKeys.destroy(made.id);
    assert.equal(answer.status, 200);
    assert.match(answer.message, /./);
    await refused(401, /^Forbidden$/, () => connect(made.secret).webhooks.list(domain, {}));
    await refused(404, /./, () => mg.apiKeys.destroy(made.id));
    const { items } = await mg.apiKeys.list({});
    assert.ok(!items.some((item) => item.id === made.id));
  });
  await check('apiKeys.regeneratePublicKey: there is none here', async () => {
    await refused([404, 405], /./, () => mg.apiKeys.regeneratePublicKey());
  });
}

// The client has no function for signatures, so this is the check that its
// users write: HMAC-SHA256 over timestamp and token, by the key that the client reads.
async function verify(url, key) {
  const { http_signing_key: secret } = await connect(url, key)
    .accountManagement.getWebhookSigningKey();
  const tokens = new Set();
  const ids = new Set();
  let count = 0;
  for await (const line of createInterface({ input: process.stdin })) {
    count += 1;
    await check(`the signature of delivery ${count}`, () => {
      const body = JSON.parse(JSON.parse(line).body);
      const { timestamp, token, signature } = body.signature;
      const sign = (token) => createHmac('sha256', secret).update(timestamp + token).digest('hex');
      assert.equal(signature, sign(token));
      assert.notEqual(signature, sign(`${token}0`));
      assert.ok(Math.abs(Date.now() / 1000 - Number(timestamp)) < 300, 'it is of now');
      tokens.add(token);
      ids.add(body['event-data'].id);
    });
  }
  await check('a retry is the same event under a new signature', () => {
    assert.ok(count >= 2, 'there are a first try and another one');
    assert.equal(tokens.size, count);
    assert.equal(ids.size, 1);
  });
}

async function rateLimit(url, key, domain) {
  const mg = connect(url, key);
  await check('too many calls: 429', async () => {
    for (let call = 0; call < 1000; call += 1) {
      try {
        await mg.webhooks.list(domain, {});
      } catch (error) {
        assert.equal(error.type, 'MailgunAPIError', describe(error));
        assert.equal(error.status, 429, describe(error));
        assert.equal(error.details, 'Too many requests');
        assert.ok(call > 0, 'the first call is answered');
        return;
      }
    }
    assert.fail('a thousand calls were answered');
  });
}

// Polls a list of events that has no end, until TOTAL have come and no more do.
// Prints the id of each.
async function follow(url, key, domain, begin, total) {
  const mg = connect(url, key);
  let { items, pages } = await mg.events.get(domain, { begin, ascending: 'yes', limit: 100 });
  let count = 0;
  while (items.length > 0 || count < total) {
    items.forEach(({ id }) => console.log(`id ${id}`));
    count += items.length;
    if (items.length === 0) {
      await new Promise((resolve) => { setTimeout(resolve, 50); });
    }
    ({ items, pages } = await mg.events.get(domain, { page: pages.next.page }));
  }
}

const [mode, url, key, domain, receiver, transport] = process.argv.slice(2);
switch (mode) {
  case 'api': {
    const context = {
      mg: connect(url, key, transport),
      stranger: connect(url, 'key-of-nobody', transport),
      connect: (key) => connect(url, key, transport),
      domain,
      receiver,
    };
    for (const part of [webhooks, account, domains, apiKeys, subaccounts]) {
      await part(context);
    }
    break;
  }
  case 'verify':
    await verify(url, key);
    break;
  case 'rate-limit':
    await rateLimit(url, key, domain);
    break;
  case 'follow':
    await follow(url, key, domain, receiver, Number(transport));
    break;
  default:
    console.error('usage: mailgun.mjs api|verify|rate-limit|follow BASE_URL API_KEY …');
    process.exit(64);
}
