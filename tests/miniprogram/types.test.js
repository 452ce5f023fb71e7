// The types of the Mini Program's client, by TypeScript; and what npm installs for that.

const assert = require('node:assert/strict')
const { execFile } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')

// The declarations, the client's and WeChat's, are checked once.
for (const [moduleKind, resolution, skip] of [
  ['esnext', 'bundler', '--skipDefaultLibCheck'],
  ['commonjs', 'node10', '--skipLibCheck']
]) {
  test(`tsc --strict takes right programs and refuses wrong ones, with ${resolution}`, async () => {
    const options = ['--strict', '--noEmit', skip, '--target', 'es2020', '--lib', 'es2020', '--types', 'miniprogram-api-typings']
    const compiler = require.resolve('typescript/bin/tsc')
    const kind = ['--module', moduleKind, '--moduleResolution', resolution]
    const args = [compiler, ...options, ...kind, 'program.ts']
    const output = await new Promise(resolve => {
      execFile(process.execPath, args, { cwd: __dirname }, (error, stdout, stderr) => resolve(`${stdout}${stderr}`))
    })
    assert.equal(output, '')
  })
}

test('the lock file is complete, and names no registry', () => {
  const text = fs.readFileSync(path.join(__dirname, 'package-lock.json'), 'utf8')
  assert.doesNotMatch(text, /"resolved"/)
  const [, ...packages] = Object.entries(JSON.parse(text).packages)
  assert.ok(packages.length > 50)
  for (const [name, { integrity }] of packages) assert.match(integrity ?? '', /^sha512-/, name)
})
