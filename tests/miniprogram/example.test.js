// The example that WeChat DevTools opens: its files, and its page with the sandbox.

const assert = require('node:assert/strict')
const { execFile, spawn } = require('node:child_process')
const fs = require('node:fs')
const http = require('node:http')
const { once } = require('node:events')
const path = require('node:path')
const { promisify } = require('node:util')
const { gzipSync } = require('node:zlib')

const { EXAMPLE, LOGIN, Phone, direct, isAlive, sandbox, serve, test, useSandbox } = require('./harness')

useSandbox()

const read = name => fs.readFileSync(path.join(EXAMPLE, name), 'utf8')

test('wxlogin.mjs and wxlogin.js are the same code', () => {
  const [module, commonJs] = [read('wxlogin.mjs'), read('wxlogin.js')]
  assert.ok(module.endsWith('\n\nexport { create, LoginError }\n'))
  assert.equal(commonJs, module.replace(/export ({.*})\n$/, 'module.exports = $1\n'))
})

test('without comments the client is under 3,300 bytes, gzipped', () => {
  const code = read('wxlogin.js').replace(/^ *\/\*\*[^]*?\*\/\n|^ *\/\/.*\n| \/\/ .*$/gm, '')
  const { length } = gzipSync(code, { level: 9 })
  assert.ok(length < 3300, `${length} bytes`)
})

test('each code of the client has a row in both languages', () => {
  const client = read('wxlogin.js')
  const codes = new Set(['request', 'uploadFile', 'downloadFile', 'connectSocket', 'login'].map(name => `wx_${name}_failed`))
  for (const [, code] of client.matchAll(/(?:LoginError\(|code = )'(\w+)'/g)) codes.add(code)
  assert.equal(codes.size, 10)
  for (const language of ['en', 'zh-CN']) {
    const page = read(`../../docs/${language}/mini-program.md`)
    const cells = page.match(/^\| `.*?(?= \| )/gm)
    const rows = new Set(cells.flatMap(cell => cell.split('`').filter((_, at) => at % 2)))
    for (const code of codes) assert.ok(rows.has(code), `${code} in ${language}`)
  }
})

test('the package for npm has the files, and the version of wxlogin', async () => {
  const { version, files, main, module, types } = JSON.parse(read('package.json'))
  const [, ofWxlogin] = /^version = "(.*)"$/m.exec(read('../../Cargo.toml'))
  assert.equal(version, ofWxlogin)
  assert.ok(read('wxlogin.js').startsWith(`// wxlogin.js ${version}: `))
  assert.deepEqual([main, module, types], ['wxlogin.js', 'wxlogin.mjs', 'wxlogin.d.ts'])
  const { stdout } = await promisify(execFile)('npm', ['pack', '--dry-run', '--json'], { cwd: EXAMPLE })
  const packed = JSON.parse(stdout)[0].files.map(file => file.path)
  assert.deepEqual(packed.sort(), ['README.md', 'package.json', ...files].sort())
})

test('DevTools finds what the JSON files name, and does not check domains', () => {
  const files = fs.readdirSync(EXAMPLE, { recursive: true }).filter(name => name.endsWith('.json'))
  assert.deepEqual(files.sort(), ['app.json', 'package.json', 'pages/index/index.json', 'project.config.json'])
  for (const name of files) JSON.parse(read(name))
  const project = JSON.parse(read('project.config.json'))
  assert.equal(project.setting.urlCheck, false)
  assert.equal(project.compileType, 'miniprogram')
  assert.ok(fs.statSync(path.join(EXAMPLE, project.miniprogramRoot, 'app.json')).isFile())
  const { pages } = JSON.parse(read('app.json'))
  assert.ok(pages.length > 0)
  for (const page of pages) {
    for (const kind of ['js', 'json', 'wxml']) assert.ok(fs.existsSync(path.join(EXAMPLE, `${page}.${kind}`)), page)
  }
})

test('each handler and each value that the page shows is there', () => {
  const { page } = start(new Phone())
  const markup = read('pages/index/index.wxml')
  const handlers = [...markup.matchAll(/ bind\w+="(\w+)"/g)].map(([, name]) => name)
  assert.deepEqual(handlers.sort(), ['logIn', 'logOut', 'onPhoneNumber', 'whoAmI'])
  for (const name of handlers) assert.equal(typeof page[name], 'function', name)
  const values = [...markup.matchAll(/{{(\w+)/g)].map(([, name]) => name)
  assert.deepEqual([...new Set(values)].sort(), Object.keys(page.data).sort())
})

/** Starts the example on this phone, in its development version. */
function start(phone, backend) {
  let page
  const app = {}
  phone.envVersion = 'develop'
  const { request } = phone
  phone.request = options => {
    const url = options.url.replace('http://127.0.0.1:3000', sandbox())
    request.call(phone, { ...options, url })
  }
  globalThis.App = given => Object.assign(app, given)
  globalThis.getApp = () => ({ ...app, ...backend && { backend } })
  globalThis.Page = given => { page = { ...given, setData(data) { Object.assign(this.data, data) } } }
  for (const name of ['wxlogin.js', 'app.js', 'pages/index/index.js']) {
    const file = path.join(EXAMPLE, name)
    delete require.cache[file]
    require(file)
  }
  return { page, login: app.login }
}

test('the first page shows an openid', async () => {
  const phone = new Phone('user-alice.example')
  const { page, login } = start(phone)
  await page.onLoad()
  const { openid } = (await direct('GET', '/session', await login.token())).data
  assert.deepEqual(page.data, { openid, phoneNumber: '', message: '' })
  assert.deepEqual(phone.events, [...LOGIN, 'GET /session'])
})

test('the buttons log in anew, and log out', async () => {
  const phone = new Phone('user-alice.button-1', 'user-alice.button-2', 'user-alice.never')
  const { page, login } = start(phone)
  await page.onLoad()
  const { openid } = page.data
  await page.logIn()
  assert.equal(page.data.openid, openid)
  assert.equal(phone.count('wx.login'), 2)
  const token = await login.token()
  await page.logOut()
  assert.deepEqual(page.data, { openid: '', phoneNumber: '', message: '' })
  assert.equal(await isAlive(token), false)
})

test('a failure is shown as text', async () => {
  const { page } = start(new Phone('error-40226.example', 'undefined', 'user-alice.example-then'))
  await page.onLoad()
  assert.equal(page.data.openid, '')
  assert.match(page.data.message, /^This does not work for you\. .*user_blocked: WeChat blocks/)
  await page.whoAmI()
  assert.match(page.data.message, /^The program has a bug, or its settings are wrong\. .*malformed_code/)
  await page.whoAmI()
  assert.match(page.data.openid, /^o/)
  assert.equal(page.data.message, '')
})

test('the phone code goes to the backend, and a spent one is asked for again', async t => {
  const problem = { code: 'invalid_phone_code', action: 'ask_again', detail: 'Used.' }
  const number = { phoneNumber: '13800000000', purePhoneNumber: '13800000000', countryCode: '86' }
  const seen = []
  const backend = await serve(t, async request => {
    let body = ''
    for await (const chunk of request.setEncoding('utf8')) body += chunk
    seen.push(`${request.method} ${request.url} ${body}`)
    return seen.length === 1 ? [400, JSON.stringify(problem)] : [200, JSON.stringify(number)]
  })
  const { page } = start(new Phone('user-alice.number'), backend)
  await page.onPhoneNumber({ detail: { code: 'used' } })
  assert.match(page.data.message, /^Please press the phone number button again\. .*400 invalid_phone_code Used\.$/)
  assert.equal(page.data.phoneNumber, '')
  await page.onPhoneNumber({ detail: { code: 'new' } })
  assert.deepEqual([page.data.phoneNumber, page.data.message], ['13800000000', ''])
  await page.onPhoneNumber({ detail: { errMsg: 'getPhoneNumber:fail user deny' } })
  assert.equal(page.data.message, 'getPhoneNumber:fail user deny')
  assert.deepEqual(seen, ['POST /phone {"code":"used"}', 'POST /phone {"code":"new"}'])
})

test('the backend that README.md names asks the internal listener for the user who is logged in, and for no other', async t => {
  const number = { phoneNumber: '13800000000', purePhoneNumber: '13800000000', countryCode: '86' }
  let refusal
  const seen = []
  const internal = await serve(t, async request => {
    let body = ''
    for await (const chunk of request.setEncoding('utf8')) body += chunk
    seen.push(`${request.method} ${request.url} ${request.headers.authorization} ${body}`)
    return refusal || [200, JSON.stringify(number)]
  })
  const settings = { WXLOGIN: sandbox(), WXLOGIN_INTERNAL: internal, INTERNAL_TOKEN: 'internal-token' }
  const url = await startBackend(t, settings)
  const { page, login } = start(new Phone('user-alice.backend'), url)
  await page.onPhoneNumber({ detail: { code: 'phone-code' } })
  assert.deepEqual([page.data.message, page.data.phoneNumber], ['', '13800000000'])
  const { appid, openid } = (await login.request({ url: '/session' })).data
  assert.deepEqual(seen, [`POST /users/${appid}/${openid}/phone Bearer internal-token {"code":"phone-code"}`])

  // What is wrong between backend and wxlogin is no reason for a login.
  refusal = [401, '{"code":"invalid_internal_token","action":"fix_request"}']
  assert.equal((await login.request({ url: `${url}/phone`, method: 'POST', data: { code: 'next' } })).statusCode, 500)
  const { statusCode } = await ask(`${url}/phone`, 'wxs_unknown')
  assert.deepEqual([statusCode, seen.length], [401, 2])
})

/** The backend that README.md names, as a process. */
async function startBackend(t, settings) {
  const [, directory, program] = /\]\((\.\.\/backend\/node)\)[^]*?\nnode (\S+)\n/.exec(read('README.md'))
  const reserved = http.createServer().listen(0, '127.0.0.1')
  await once(reserved, 'listening')
  const PORT = String(reserved.address().port)
  reserved.close()
  const env = { ...process.env, ...settings, PORT }
  const cwd = path.join(EXAMPLE, directory)
  const backend = spawn(process.execPath, [program], { cwd, env, stdio: ['ignore', 'inherit', 'ignore'] })
  t.after(() => backend.kill())
  const url = `http://127.0.0.1:${PORT}`
  while (await ask(url, '').catch(() => false) === false) assert.equal(backend.exitCode, null)
  return url
}

/** POSTs an empty phone code with this token. */
async function ask(url, token) {
  const headers = { Authorization: `Bearer ${token}` }
  const [answer] = await once(http.request(url, { method: 'POST', headers, agent: false }).end('{}'), 'response')
  answer.resume()
  return answer
}
