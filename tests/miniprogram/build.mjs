// `node build.mjs DIRECTORY` builds login.js of examples/miniprogram/README.md as a front end does: with Vite
// (uni-app) into DIRECTORY/dist/vite.cjs, with webpack (Taro) into DIRECTORY/dist/webpack.cjs.

import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'
import webpack from 'webpack'

const project = path.resolve(process.argv[2])
const outDir = path.join(project, 'dist')
const example = fileURLToPath(new URL('../../examples/miniprogram', import.meta.url))

// A project with what the README says to put into it. The tests need `create` and `LoginError` too.
fs.mkdirSync(project, { recursive: true })
fs.copyFileSync(path.join(example, 'wxlogin.mjs'), path.join(project, 'wxlogin.mjs'))
const readme = fs.readFileSync(path.join(example, 'README.md'), 'utf8')
const [, login] = /```js\n(\/\/ login\.js\n[^]*?)```/.exec(readme)
const entry = path.join(project, 'login.js')
fs.writeFileSync(entry, `${login}export { create }\nexport { LoginError } from './wxlogin.mjs'\n`)

const lib = { entry, formats: ['cjs'], fileName: () => 'vite.cjs' }
const options = { outDir, emptyOutDir: false, target: 'es2015', lib }
await build({ configFile: false, root: project, logLevel: 'warn', build: options })

const output = { path: outDir, filename: 'webpack.cjs', library: { type: 'commonjs2' } }
const compiler = webpack({ mode: 'production', target: 'web', context: project, entry, output })
const stats = await new Promise((resolve, reject) => {
  compiler.run((error, stats) => error ? reject(error) : resolve(stats))
})
if (stats.hasErrors() || stats.hasWarnings()) throw new Error(stats.toString())
