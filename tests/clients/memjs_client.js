// Proves that the npm package `memjs`, which speaks the binary protocol alone, works with the server: every command that
// it has, bytes of every kind, and several servers. (Its prepend sends an append.)

const memjs = require('memjs')
const checks = require('./checks')

checks.run(__filename, async ([first, second, third]) => {
  const { version } = require('memjs/package.json')
  checks.client(`memjs ${version}`, 'binary', 'every command, every byte, three servers')
  for (const servers of [[first], [first, second, third]]) {
    const client = memjs.Client.create(servers.join(','), {
      retries: 0, timeout: 5, logger: { log() {} },
    })
    await client.flush()
    await commands(client)
    await values(client)
    await many(client, servers)
    client.close()
  }
})

const textOf = async (client, key) => {
  const { value } = await client.get(key)
  return value && value.toString()
}

async function commands(client) {
  checks.equal(await client.set('key', 'value', { expires: 60 }), true, 'set')
  checks.equal(await textOf(client, 'key'), 'value', 'get')
  checks.equal(await textOf(client, 'missing'), null, 'get of a missing key')
  checks.equal(await client.add('key', 'other', {}), false, 'add of a key that exists')
  checks.equal(await client.add('added', 'new', {}), true, 'add of a key that does not')
  checks.equal(await client.replace('missing', 'x', {}), false, 'replace of a missing key')
  checks.equal(await client.replace('added', 'newer', {}), true, 'replace')
  checks.equal(await client.append('key', '-end'), true, 'append')
  await checks.rejects(client.append('missing', 'x'), /not stored/, 'append to a missing key')
  checks.equal(await textOf(client, 'key'), 'value-end', 'and what it stored')
  checks.equal(await client.increment('count', 5, { initial: 10 }), { success: true, value: 10 },
    'increment with a value to begin with')
  checks.equal((await client.increment('count', 5, {})).value, 15, 'increment')
  checks.equal((await client.decrement('count', 20, {})).value, 0, 'decrement stops at 0')
  checks.equal(await client.touch('key', 1000), true, 'touch')
  checks.equal(await client.touch('missing', 1000), false, 'touch of a missing key')
  checks.equal(await client.delete('key'), true, 'delete')
  checks.equal(await client.delete('key'), false, 'delete of a missing key')
  await client.set('brief', 'v', { expires: 1 })
  await checks.within(5000, async () => (await textOf(client, 'brief')) === null, 'it expires')
  const { version } = await new Promise((resolve, reject) =>
    client.stats((error, server, stats) => (error ? reject(error) : resolve(stats))))
  checks.equal(version, '1.6.45', 'stats')
}

async function values(client) {
  const all = Buffer.from(Array.from({ length: 256 }, (_, index) => index))
  for (const value of [Buffer.alloc(0), all, Buffer.from('ünïcode ✓'), Buffer.alloc(500000, 'x')]) {
    await client.set('value', value, {})
    checks.equal((await client.get('value')).value, value, `a value of ${value.length} bytes`)
  }
  const { flags } = await client.get('value')
  checks.equal(flags.length, 4, 'with its flags')
}

async function many(client, servers) {
  const keys = Array.from({ length: 100 }, (_, index) => `many-${index}`)
  await Promise.all(keys.map((key) => client.set(key, `value of ${key}`, {})))
  const texts = await Promise.all(keys.map((key) => textOf(client, key)))
  checks.equal(texts, keys.map((key) => `value of ${key}`), 'a hundred at once, each its own')
  const counts = []
  await new Promise((resolve, reject) => client.statsWithKey('', (error, server, stats) => {
    if (error) reject(error)
    counts.push(Number(stats.curr_items))
    if (counts.length === servers.length) resolve()
  }))
  checks.equal(counts.every((count) => count > 10), true, 'every server has some of them')
}
