// The Mini Program's client under luch-request, as docs/en/mini-program.md shows it: built by Vite, with `uni`.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')

const { LOGIN, Phone, create, direct, serve, test, useSandbox } = require('./harness')

useSandbox()

/** The page's http.js, for this client. */
async function library(t, login) {
  const page = fs.readFileSync(path.join(__dirname, '../../docs/en/mini-program.md'), 'utf8')
  const [, http] = /```js\n(\/\/ http\.js\n[^]*?)```/.exec(page)
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'wxlogin-luch-'))
  t.after(() => fs.rmSync(directory, { recursive: true }))
  const entry = path.join(directory, 'http.js')
  fs.writeFileSync(entry, http)
  fs.writeFileSync(path.join(directory, 'login.js'), 'export const login = globalThis.theLogin\n')
  fs.symlinkSync(path.join(__dirname, 'node_modules'), path.join(directory, 'node_modules'))
  const { build } = await import('vite')
  const lib = { entry, formats: ['cjs'], fileName: () => 'http.cjs' }
  await build({ configFile: false, root: directory, logLevel: 'warn', build: { lib } })
  Object.assign(globalThis, { theLogin: login, uni: globalThis.wx })
  return require(path.join(directory, 'dist/http.cjs')).http
}

test('ten 401s spread over half a second make one login, by way of the library', async t => {
  const phone = new Phone('user-mia.1', 'user-mia.2', 'user-mia.never')
  const login = create()
  const http = await library(t, login)
  let asked = 0
  const seen = []
  const backend = await serve(t, async ({ headers: { authorization = '', 'x-shop': shop }, url }) => {
    const { statusCode, data } = await direct('GET', '/session', authorization.slice('Bearer '.length))
    seen.push(shop)
    if (statusCode === 401) await new Promise(resolve => setTimeout(resolve, 50 * asked++))
    return [statusCode, JSON.stringify({ url, openid: data.openid })]
  })
  await direct('DELETE', '/session', await login.token())
  const { openid } = (await direct('GET', '/onLogin?code=user-mia.openid')).data
  const urls = Array.from({ length: 10 }, (_, index) => `/orders/${index}`)
  const answers = await Promise.all(urls.map(url => http.get(`${backend}${url}`, { header: { 'X-Shop': '7' } })))
  assert.deepEqual(answers.map(({ data }) => data), urls.map(url => ({ url, openid })))
  assert.equal(asked, 10)
  assert.deepEqual(new Set(seen), new Set(['7']))
  assert.equal(phone.count('wx.login'), 2)
})

test("what the library rejects with is the page's, and a 401 for another reason causes no login", async t => {
  const phone = new Phone('user-mia.own', 'user-mia.never')
  const http = await library(t, create())
  for (const status of [403, 401]) {
    const backend = await serve(t, () => [status, '{"why":"closed"}'])
    const refused = { statusCode: status, data: { why: 'closed' } }
    await assert.rejects(http.post(`${backend}/orders`, { tea: 2 }), refused)
  }
  phone.offline = 1
  await assert.rejects(http.get('http://127.0.0.1:9/'), ({ errMsg }) => /INTERNET_DISCONNECTED/.test(errMsg))
  assert.deepEqual(phone.events, [...LOGIN, 'POST /orders', 'POST /orders', 'GET /session', 'GET /'])
})
