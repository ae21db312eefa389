// Counts checks, as checks.py does: a check that fails ends the program.

const assert = require('node:assert/strict')
const path = require('node:path')

const LIMIT_MS = 60000

let count = 0

// Names what is proven: a row of the README's table of clients.
exports.client = (name, protocol, what) =>
  console.log(`CLIENT | ${name} | Node.js | ${protocol} | ${what}`)

exports.equal = (actual, expected, what) => {
  assert.deepEqual(actual, expected, what)
  count += 1
}

exports.rejects = async (promise, pattern, what) => {
  await assert.rejects(promise, pattern, what)
  count += 1
}

// Waits until `condition` holds.
exports.within = async (limitMs, condition, what) => {
  const deadline = Date.now() + limitMs
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `${what}: not within ${limitMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  count += 1
}

// Runs the program `file`; its arguments are the addresses of servers.
exports.run = (file, body) => {
  const timer = setTimeout(() => {
    console.error(`not done within ${LIMIT_MS} ms`)
    process.exit(1)
  }, LIMIT_MS)
  body(process.argv.slice(2)).then(
    () => {
      clearTimeout(timer)
      console.log(`${path.basename(file)}: ${count} checks passed`)
    },
    (error) => {
      console.error(error)
      process.exit(1)
    },
  )
}
