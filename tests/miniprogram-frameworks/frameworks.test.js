// The Mini Program's client in real projects: built by uni-app (Vite), Taro 4 (webpack) and WeChat's own npm builder
// from the package that `npm pack` makes, and as one CommonJS file, with the sandbox.
//
// `npm ci` here and in ../miniprogram and `cargo build --example sandbox`, then `node --test`. It takes some minutes.

const assert = require('node:assert/strict')
const { execFile } = require('node:child_process')
const fs = require('node:fs')
const { once } = require('node:events')
const http = require('node:http')
const os = require('node:os')
const path = require('node:path')
const { test } = require('node:test')
const { promisify } = require('node:util')
const ci = require('miniprogram-ci')

const { EXAMPLE, Phone, direct, sandbox, useSandbox, websockets } = require('../miniprogram/harness')

const run = promisify(execFile)
const MODULES = path.join(__dirname, 'node_modules')
const WORK = fs.mkdtempSync(path.join(os.tmpdir(), 'wxlogin-frameworks-'))
process.on('exit', () => fs.rmSync(WORK, { recursive: true, force: true }))

useSandbox()

/** A copy of a project, with the client from npm. */
async function project(name) {
  const directory = path.join(WORK, name)
  const client = path.join(directory, 'node_modules/wxlogin-miniprogram')
  fs.mkdirSync(client, { recursive: true })
  if (!fs.existsSync(`${WORK}/node_modules`)) fs.symlinkSync(MODULES, `${WORK}/node_modules`)
  const source = path.join(__dirname, 'projects', name)
  if (fs.existsSync(source)) fs.cpSync(source, directory, { recursive: true })
  const { stdout } = await run('npm', ['pack', '--silent', '--pack-destination', directory, EXAMPLE], { cwd: WORK })
  await run('tar', ['xf', stdout.trim(), '-C', client, '--strip-components', '1'], { cwd: directory })
  return directory
}

/** The scenario, with another line for the client. */
function scenario(client) {
  const text = fs.readFileSync(path.join(__dirname, 'scenario.js'), 'utf8')
  return client ? text.replace(/^import (.*) from '.*'$/m, `const $1 = require('${client}')`) : text
}

/** Runs a tool in the project. What it says is shown if it fails. */
async function build(directory, tool, ...args) {
  fs.writeFileSync(path.join(directory, 'src/scenario.js'), scenario())
  const options = { cwd: directory, maxBuffer: 1 << 26, env: { ...process.env, NODE_ENV: 'production' } }
  await run(process.execPath, [path.join(MODULES, tool), ...args], options)
}

const PROJECTS = {
  'uni-app, by Vite': async () => {
    const directory = await project('uni-app')
    await build(directory, '@dcloudio/vite-plugin-uni/bin/uni.js', 'build', '-p', 'mp-weixin')
    return path.join(directory, 'dist/build/mp-weixin/app.js')
  },
  'Taro, by webpack': async () => {
    const directory = await project('taro')
    await build(directory, '@tarojs/cli/bin/taro', 'build', '--type', 'weapp')
    return path.join(directory, 'dist/app.js')
  },
  'native, with the npm builder of DevTools': async () => {
    const directory = await project('native')
    const packageJsonPath = path.join(directory, 'package.json')
    fs.writeFileSync(packageJsonPath, JSON.stringify({ dependencies: { 'wxlogin-miniprogram': '*' } }))
    const { warnList } = await ci.packNpmManually({ packageJsonPath, miniprogramNpmDistDir: directory })
    assert.deepEqual(warnList, [])
    fs.writeFileSync(path.join(directory, 'app.js'), scenario('./miniprogram_npm/wxlogin-miniprogram/index.js'))
    return path.join(directory, 'app.js')
  },
  'native, with the one file': async () => {
    const directory = await project('one-file')
    fs.copyFileSync(path.join(EXAMPLE, 'wxlogin.js'), path.join(directory, 'wxlogin.js'))
    fs.writeFileSync(path.join(directory, 'app.js'), scenario('./wxlogin'))
    return path.join(directory, 'app.js')
  }
}

/** Starts a program on this phone. The scenario that it registers. */
function start(phone, file) {
  let registered
  const methods = Object.getOwnPropertyNames(Phone.prototype).filter(name => name !== 'constructor')
  const bound = Object.fromEntries(methods.map(name => [name, phone[name].bind(phone)]))
  const info = () => ({ windowWidth: 375, pixelRatio: 2, platform: 'ios', system: 'iOS 17', language: 'zh_CN', SDKVersion: '3.17.0' })
  const sync = ['getSystemInfoSync', 'getAppBaseInfo', 'getWindowInfo', 'getDeviceInfo', 'getLaunchOptionsSync']
  const others = Object.fromEntries(sync.map(name => [name, info]))
  const program = {
    wx: { ...bound, ...others, onScenario: scenario => { registered = scenario } },
    App: () => {}, Page: () => {}, Component: () => {}, Behavior: () => {},
    getApp: () => undefined, getCurrentPages: () => []
  }
  Object.assign(globalThis, program)
  require(file)
  return registered
}

/** The team's own backend. */
async function backend(t) {
  const isIn = async ({ headers: { authorization = '' } }) =>
    (await direct('GET', '/session', authorization.slice('Bearer '.length))).statusCode === 200
  const server = http.createServer(async (request, response) => {
    for await (const chunk of request) if (chunk.length === 0) break // read it all
    if (request.url === '/slow') return
    if (!await isIn(request)) return response.writeHead(401).end()
    if (request.url !== '/stream') return response.end('done')
    response.write('one ')
    setImmediate(() => response.end('two'))
  })
  websockets(server, isIn, (connection, data) => connection.send(`${data}!`))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  return `http://127.0.0.1:${server.address().port}`
}

for (const [name, make] of Object.entries(PROJECTS)) {
  test(name, { timeout: 600000 }, async t => {
    const file = await make()
    const phone = new Phone(...['a', 'b', 'c'].map(turn => `user-nina.${path.basename(path.dirname(file))}-${turn}`))
    phone.files.set('wxfile://avatar.png', 'a picture')
    const { tempFilePath, ...done } = await start(phone, file)(sandbox(), await backend(t))
    assert.deepEqual(done, {
      isMe: true, uploaded: 200, progress: 100, stream: 'one two', message: 'hello!', aborted: 'aborted', loggedOut: 'logged_out'
    })
    assert.equal(phone.files.get(tempFilePath), 'done')
    assert.equal(phone.storage.size, 0)
  })
}
