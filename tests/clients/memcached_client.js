// Proves that the npm package `memcached` works with the server: every command that it has, objects, many keys at once,
// several servers. (Its hash ring takes a Unix socket's path for a host.)

const { promisify } = require('node:util')
const Memcached = require('memcached')
const checks = require('./checks')

// Its methods take callbacks, and `this` in them says what was asked.
const wrap = (client) =>
  new Proxy(client, { get: (target, name) => promisify(target[name]).bind(target) })

checks.run(__filename, async ([first, second, third]) => {
  const { version } = require('memcached/package.json')
  checks.client(`memcached ${version}`, 'text',
    'every command, objects, buffers, many keys, three servers')
  for (const servers of [[first], [first, second, third]]) {
    const raw = new Memcached(servers, { retries: 0, timeout: 5000 })
    const client = wrap(raw)
    await client.flush()
    await commands(client)
    await values(client)
    await many(client, servers)
    raw.end()
  }
})

async function commands(client) {
  checks.equal(await client.set('key', 'value', 0), true, 'set')
  checks.equal(await client.get('key'), 'value', 'get')
  checks.equal(await client.get('missing'), undefined, 'get of a missing key')
  await checks.rejects(client.add('key', 'other', 0), /not stored/, 'add of a key that exists')
  checks.equal(await client.add('added', 'new', 0), true, 'add of a key that does not')
  checks.equal(await client.replace('added', 'newer', 0), true, 'replace')
  await checks.rejects(client.replace('missing', 'x', 0), /not stored/, 'replace of a missing key')
  checks.equal(await client.append('key', '-end'), true, 'append')
  checks.equal(await client.prepend('key', 'start-'), true, 'prepend')
  const { key, cas } = await client.gets('key')
  checks.equal(key, 'start-value-end', 'gets')
  checks.equal(await client.cas('key', 'second', cas, 0), true, 'cas with nothing in between')
  checks.equal(await client.cas('key', 'third', cas, 0), false, 'cas again')
  checks.equal(await client.get('key'), 'second', 'only the first has stored')
  await client.set('count', 10, 0)
  checks.equal(await client.incr('count', 5), 15, 'incr')
  checks.equal(await client.decr('count', 20), 0, 'decr stops at 0')
  checks.equal(await client.incr('missing', 1), false, 'incr of a missing key')
  await checks.rejects(client.incr('key', 1), /non-numeric/, 'incr of a text')
  checks.equal(await client.touch('key', 1000), true, 'touch')
  checks.equal(await client.del('key'), true, 'del')
  checks.equal(await client.del('key'), false, 'del of a missing key')
  await client.set('brief', 'v', 1)
  await checks.within(5000, async () => (await client.get('brief')) === undefined, 'it expires')
  const [version] = await client.version()
  checks.equal(version.version, '1.6.45', 'version')
  const stats = await client.stats()
  checks.equal(stats[0].version, '1.6.45', 'stats')
  checks.equal(stats.some((one) => one.curr_items > 0), true, 'items are counted')
  const [settings] = await client.settings()
  checks.equal(settings.maxbytes, 67108864, 'stats settings')
}

async function values(client) {
  const large = 'x'.repeat(500000)
  const stored = { text: 'ünïcode ✓', list: [1, 2.5, null, { a: true }], 'number': 7, large }
  for (const [key, value] of Object.entries(stored)) {
    await client.set(key, value, 0)
    checks.equal(await client.get(key), value, `a value that is a ${typeof value}`)
  }
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, index) => index))
  await client.set('bytes', bytes, 0)
  checks.equal(await client.get('bytes'), bytes, 'every byte')
}

async function many(client, servers) {
  const keys = Array.from({ length: 100 }, (_, index) => `many-${index}`)
  await Promise.all(keys.map((key) => client.set(key, `value of ${key}`, 0)))
  const found = await client.getMulti([...keys, 'missing'])
  checks.equal(Object.keys(found).length, 100, 'getMulti')
  checks.equal(keys.every((key) => found[key] === `value of ${key}`), true, 'each its own')
  const stats = (await client.stats()).filter((one) => one.curr_items > 0)
  checks.equal(stats.length, servers.length, 'every server has some of them')
}
