// Tests of wxlogin.js with the sandbox: after `cargo build --example sandbox`,
// `node --test examples/miniprogram/wxlogin.test.js`.

const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const { EventEmitter, once } = require('node:events')
const http = require('node:http')
const path = require('node:path')
const { after, before, test: testOfNode } = require('node:test')
const { inspect } = require('node:util')

const wxlogin = require('./wxlogin')

const setTimeoutOfNode = globalThis.setTimeout
const SANDBOX = process.env.WXLOGIN_SANDBOX ||
  path.join(__dirname, '../../target/debug/examples/sandbox')

const test = (name, body) => testOfNode(name, { timeout: 20000 }, body)

let sandbox // the process
let base // where it listens
let introduction = '' // what it prints

before(async () => {
  sandbox = spawn(SANDBOX, { stdio: ['ignore', 'pipe', 'ignore'] })
  process.once('exit', () => sandbox.kill())
  sandbox.stdout.setEncoding('utf8').on('data', text => { introduction += text })
  // It cannot start, or ends too early.
  const end = new Promise((resolve, reject) => {
    sandbox.once('error', reject)
    sandbox.once('exit', status => reject(new Error(`the sandbox ended: ${status}`)))
  })
  end.catch(() => {})
  while (!introduction.includes('Ctrl-C')) await Promise.race([once(sandbox.stdout, 'data'), end])
  base = /curl '(http:\/\/[^/]+)\/onLogin\?code=user-alice'/.exec(introduction)[1]
})

after(async () => {
  const exit = once(sandbox, 'exit')
  sandbox.kill()
  await exit
})

/** A phone: what `wx` does there, and a list of what it was asked for. */
class Phone {
  /** With codes for wx.login, in turn; an Error is a wx.login that fails. */
  constructor(...codes) {
    this.codes = codes
    this.storage = new Map()
    this.events = []
    this.urls = []
    this.timeouts = []
    this.offline = 0 // how many of the next requests do not get through
    globalThis.wx = this
  }

  login({ timeout, success, fail }) {
    this.events.push('wx.login')
    this.timeouts.push(timeout)
    if (this.codes.length === 0) throw new Error('wx.login was called too often')
    const code = this.codes.shift()
    setImmediate(() => {
      if (code instanceof Error) fail({ errMsg: code.message })
      else success({ errMsg: 'login:ok', code })
    })
  }

  request({ url, method = 'GET', data, header, timeout, success, fail, complete = () => {} }) {
    url = new URL(url)
    const inQuery = method === 'GET' && data !== undefined
    if (inQuery) Object.entries(data).forEach(([name, value]) => url.searchParams.append(name, value))
    this.events.push(`${method} ${url.pathname}`)
    this.urls.push(url)
    this.timeouts.push(timeout)
    const done = (callback, result) => { callback(result); complete(result) }
    const failed = cause => done(fail, { errMsg: `request:fail ${cause} ${url}` })
    if (this.offline > 0) {
      this.offline -= 1
      setImmediate(failed, 'net::ERR_INTERNET_DISCONNECTED')
      return
    }
    const headers = { 'content-type': 'application/json', ...header }
    const request = http.request(url, { method, headers, agent: false }, async answer => {
      let text = ''
      for await (const chunk of answer.setEncoding('utf8')) text += chunk
      done(success, { statusCode: answer.statusCode, header: oddly(answer.headers), data: parsed(text) })
    })
    request.on('error', error => failed(error.code))
    request.end(data === undefined || inQuery ? undefined : JSON.stringify(data))
  }

  getStorageSync(key) {
    return this.storage.has(key) ? this.storage.get(key) : ''
  }

  setStorageSync(key, value) {
    this.storage.set(key, value)
  }

  removeStorageSync(key) {
    this.storage.delete(key)
  }

  count(event) {
    return this.events.filter(other => other === event).length
  }
}

/** Header names as no phone writes them: rEtRy-aFtEr. */
function oddly(headers) {
  const odd = name => name.replace(/./g, (letter, at) => at % 2 ? letter.toUpperCase() : letter)
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [odd(name), value]))
}

/** As wx.request does by default: JSON if it is, else text. */
function parsed(text) {
  try {
    return JSON.parse(text)
  } catch (error) {
    return text
  }
}

/** Asks the sandbox without the client. */
async function direct(method, pathAndQuery, token) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {}
  const request = http.request(base + pathAndQuery, { method, headers, agent: false }).end()
  const [answer] = await once(request, 'response')
  let text = ''
  for await (const chunk of answer.setEncoding('utf8')) text += chunk
  return { statusCode: answer.statusCode, data: parsed(text) }
}

const isAlive = async token => (await direct('GET', '/session', token)).statusCode === 200

/** Another server, until the test ends: the answers are [status, body, headers]. */
async function serve(t, answer) {
  const server = http.createServer(async (request, response) => {
    const fault = error => [500, String(error)]
    const [status, body, headers] = await Promise.resolve(request).then(answer).catch(fault)
    response.writeHead(status, headers).end(body)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  return `http://127.0.0.1:${server.address().port}`
}

/** Lets the client's waits end at once, and notes among the events what they would have been. */
function skipWaits(t, phone) {
  t.after(() => { globalThis.setTimeout = setTimeoutOfNode })
  globalThis.setTimeout = (callback, milliseconds) => setImmediate(() => {
    phone.events.push(`${milliseconds} ms`)
    callback()
  })
}

const LOGIN = ['wx.login', 'GET /onLogin']

test('ten pages that ask at once share one login', async () => {
  const phone = new Phone('user-alice.pages', 'user-alice.more')
  const login = wxlogin.create({ base })
  const tokens = await Promise.all(Array.from({ length: 10 }, () => login.token()))
  assert.deepEqual(phone.events, LOGIN)
  assert.equal(new Set(tokens).size, 1)
  assert.ok(await isAlive(tokens[0]))
  assert.equal(await login.token(), tokens[0])
  assert.deepEqual(phone.events, LOGIN)
})

test('a restarted client has its token still', async () => {
  const phone = new Phone('user-alice.restart', 'user-alice.never')
  const token = await wxlogin.create({ base }).token()
  const restarted = wxlogin.create({ base: `${base}/` })
  assert.equal(await restarted.token(), token)
  const { statusCode, data } = await restarted.request({ url: '/session' })
  assert.equal(statusCode, 200)
  assert.match(data.openid, /^o/)
  assert.deepEqual(phone.events, [...LOGIN, 'GET /session'])
})

test('the token is kept where the settings say, and the appid is sent if they have one', async () => {
  const phone = new Phone('user-alice.key', 'user-alice.appid')
  const token = await wxlogin.create({ base, storageKey: 'mine' }).token()
  assert.deepEqual([...phone.storage], [['mine', token]])
  assert.equal(phone.urls[0].searchParams.has('appid'), false)
  const unknown = wxlogin.create({ base, appid: 'wx0000000000000000' })
  await assert.rejects(unknown.token(), { code: 'unknown_app', action: 'fix_request', status: 400 })
  assert.deepEqual(phone.events, [...LOGIN, ...LOGIN])
})

test('the steps of a login and a log-out have a timeout, and requests have their own', async () => {
  const phone = new Phone('user-alice.timeout-1', 'user-alice.timeout-2')
  await wxlogin.create({ base, storageKey: 'other' }).token()
  const login = wxlogin.create({ base, timeout: 3000 })
  await login.request({ url: '/session' })
  await login.request({ url: '/session', timeout: 700 })
  await login.logOut()
  assert.deepEqual(phone.timeouts, [10000, 10000, 3000, 3000, undefined, 700, 3000])
})

test('a base that is none is told at once', () => {
  assert.throws(() => wxlogin.create({}), /base/)
  assert.throws(() => wxlogin.create({ base: 'login.example.com' }), /base/)
})

test('a full storage does not undo a login', async () => {
  const phone = new Phone('user-alice.full')
  phone.setStorageSync = () => { throw new Error('setStorageSync:fail exceed storage max size') }
  assert.ok(await isAlive(await wxlogin.create({ base }).token()))
  assert.deepEqual(phone.events, LOGIN)
})

test('requests with an ended token share one new login', async () => {
  const phone = new Phone('user-alice.old', 'user-alice.new', 'user-alice.never')
  const login = wxlogin.create({ base })
  const old = await login.token()
  await direct('DELETE', '/session', old)
  phone.events.length = 0
  const pages = Array.from({ length: 5 }, () => login.request({ url: '/session' }))
  for (const { statusCode } of await Promise.all(pages)) assert.equal(statusCode, 200)
  assert.equal(phone.count('wx.login'), 1)
  assert.equal(phone.count('GET /onLogin'), 1)
  assert.equal(phone.count('GET /session'), 10)
  assert.notEqual(await login.token(), old)
})

test('a late 401 does not drop the token that another page got meanwhile', async t => {
  const phone = new Phone('user-alice.late-1', 'user-alice.late-2', 'user-alice.never')
  const login = wxlogin.create({ base })
  const old = await login.token()
  const moments = new EventEmitter()
  const backend = await serve(t, async ({ headers }) => {
    if (headers.authorization !== `Bearer ${old}`) return [200]
    moments.emit('asked')
    await once(moments, 'renewed')
    return [401]
  })
  await direct('DELETE', '/session', old)
  const asked = once(moments, 'asked')
  const late = login.request({ url: `${backend}/late` })
  await asked
  await login.request({ url: '/session' })
  const renewed = await login.token()
  assert.notEqual(renewed, old)
  moments.emit('renewed')
  assert.equal((await late).statusCode, 200)
  assert.equal(await login.token(), renewed)
  assert.equal(phone.count('wx.login'), 2)
})

test('a code that was used is followed by the next one', async () => {
  const phone = new Phone('error-40163', 'user-alice.next')
  assert.ok(await isAlive(await wxlogin.create({ base }).token()))
  assert.deepEqual(phone.events, [...LOGIN, ...LOGIN])
})

test('a second refusal is the end of it, for all who wait, and the next call starts afresh', async () => {
  const phone = new Phone('error-40163.a', 'error-40163.b', 'user-alice.afresh')
  const login = wxlogin.create({ base })
  const used = { name: 'Error', code: 'code_used', action: 'login_again', status: 400 }
  await Promise.all([assert.rejects(login.token(), used), assert.rejects(login.request({ url: '/session' }), used)])
  assert.deepEqual(phone.events, [...LOGIN, ...LOGIN])
  assert.ok(await isAlive(await login.token()))
})

test('a busy WeChat is left alone for the time in Retry-After', async () => {
  const phone = new Phone('error--1', 'user-alice.patient')
  const times = []
  const { login, request } = Phone.prototype
  phone.login = function (options) {
    times.push(process.hrtime.bigint())
    login.call(this, options)
  }
  phone.request = function (options) {
    const success = answer => {
      if (answer.statusCode === 503) times.push(process.hrtime.bigint())
      options.success(answer)
    }
    request.call(this, { ...options, success })
  }
  assert.ok(await isAlive(await wxlogin.create({ base }).token()))
  assert.deepEqual(phone.events, [...LOGIN, ...LOGIN])
  const [, refused, again] = times // begin, 503, and again
  assert.equal(times.length, 3)
  const waited = Number(again - refused) / 1e6
  // Timers may be a millisecond early.
  assert.ok(waited >= 1998 && waited < 4000, `Retry-After is 2 s, and it waited ${waited} ms`)
})

test('a Retry-After is obeyed if there is one, up to ten seconds, once', async t => {
  const waits = [['error--1.w', 2000], ['error-45011.w', 10000], ['error-12345.w', 1000]]
  for (const [code, milliseconds] of waits) {
    const phone = new Phone(code, `user-alice.after${code}`)
    skipWaits(t, phone)
    await wxlogin.create({ base }).token()
    assert.deepEqual(phone.events, [...LOGIN, `${milliseconds} ms`, ...LOGIN])
  }
  const phone = new Phone('error-45011.x', 'error-45011.y', 'user-alice.never')
  skipWaits(t, phone)
  const limited = { code: 'rate_limited', action: 'retry_later', status: 429, retryAfter: 60 }
  await assert.rejects(wxlogin.create({ base }).token(), limited)
  assert.deepEqual(phone.events, [...LOGIN, '10000 ms', ...LOGIN])
})

test('a gateway that answers for wxlogin is asked again when that can help', async t => {
  const html = { 'Content-Type': 'text/html', 'Retry-After': 'Wed, 21 Oct 2026 07:28:00 GMT' }
  for (const [status, again] of [[502, true], [429, true], [404, false], [200, false]]) {
    const gateway = await serve(t, () => [status, '<html></html>', html])
    const phone = new Phone('user-alice.x', 'user-alice.y', 'user-alice.z')
    skipWaits(t, phone)
    const login = wxlogin.create({ base: gateway })
    const action = again ? 'retry_later' : 'give_up'
    await assert.rejects(login.token(), { code: 'unexpected_answer', action, status })
    assert.deepEqual(phone.events, again ? [...LOGIN, '1000 ms', ...LOGIN] : LOGIN)
    assert.equal(phone.storage.size, 0)
  }
})

test('a blocked user is told so at once', async () => {
  const phone = new Phone('error-40226', 'user-alice.never')
  const error = await wxlogin.create({ base }).token().catch(error => error)
  assert.ok(error instanceof Error)
  const { code, action, status, requestId, detail } = error
  assert.deepEqual({ code, action, status }, { code: 'user_blocked', action: 'give_up', status: 403 })
  assert.match(requestId, /^[\x21-\x7e]+$/)
  assert.match(detail, /^WeChat blocks /)
  assert.deepEqual(phone.events, LOGIN)
})

test('a login that does not get through is tried once more, with a new code', async t => {
  const phone = new Phone('user-alice.lost', 'user-alice.through')
  skipWaits(t, phone)
  phone.offline = 1
  assert.ok(await isAlive(await wxlogin.create({ base }).token()))
  assert.deepEqual(phone.events, [...LOGIN, '1000 ms', ...LOGIN])
  const sent = phone.urls.map(url => url.searchParams.get('code'))
  assert.deepEqual(sent, ['user-alice.lost', 'user-alice.through'])
})

test('without a network the error does not tell the code, and requests are not repeated', async t => {
  const phone = new Phone('user-alice.secret', 'user-alice.secret', 'user-alice.online', 'user-alice.never')
  skipWaits(t, phone)
  const server = http.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  const error = await wxlogin.create({ base: `http://127.0.0.1:${port}` }).token().catch(error => error)
  assert.ok(error instanceof Error)
  assert.equal(error.code, 'wx_request_failed')
  assert.equal(error.action, 'retry_later')
  assert.match(error.detail, /ECONNREFUSED/)
  assert.doesNotMatch(inspect(error, { showHidden: true }), /secret/)
  assert.equal(phone.count('wx.login'), 2)

  const login = wxlogin.create({ base })
  await login.token()
  phone.events.length = 0
  phone.offline = 1
  const request = { url: '/session', fail: assert.fail, complete: assert.fail }
  await assert.rejects(login.request(request), { name: 'Error', code: 'wx_request_failed' })
  // Not repeated: the server may have got it.
  assert.deepEqual(phone.events, ['GET /session'])
  assert.equal((await login.request(request)).statusCode, 200)
})

test('a wx.login that fails, or has no code, is tried once more', async t => {
  const phone = new Phone(new Error('login:fail timeout'), '', 'user-alice.third')
  skipWaits(t, phone)
  const login = wxlogin.create({ base })
  await assert.rejects(login.token(), { name: 'Error', code: 'wx_login_failed', action: 'retry_later' })
  assert.deepEqual(phone.events, ['wx.login', '1000 ms', 'wx.login'])
  assert.ok(await isAlive(await login.token()))
})

test('logOut ends this session alone', async () => {
  const phone = new Phone('user-carol.phone', 'user-carol.again')
  const login = wxlogin.create({ base })
  const token = await login.token()
  const elsewhere = (await direct('GET', '/onLogin?code=user-carol.elsewhere')).data.token
  await login.logOut()
  assert.equal(phone.storage.size, 0)
  assert.equal(await isAlive(token), false)
  assert.equal(await isAlive(elsewhere), true)
  await login.logOut() // with nothing to end
  assert.deepEqual(phone.events, [...LOGIN, 'DELETE /session'])
  assert.notEqual(await login.token(), token)
})

test('logOut of a session that has ended is a logOut', async () => {
  const phone = new Phone('user-carol.ended', 'user-carol.never')
  const login = wxlogin.create({ base })
  await direct('DELETE', '/session', await login.token())
  await login.logOut()
  assert.equal(phone.storage.size, 0)
  assert.deepEqual(phone.events, [...LOGIN, 'DELETE /session'])
})

test('logOut ends a login that is under way', async () => {
  const phone = new Phone('user-carol.underway')
  const login = wxlogin.create({ base })
  const token = login.token()
  await login.logOut()
  assert.equal(phone.storage.size, 0)
  assert.equal(await isAlive(await token), false)
})

test('logOut everywhere ends all sessions, even if this one has ended', async () => {
  for (const ended of [false, true]) {
    const phone = new Phone(`user-dave.${ended}`, `user-dave.again-${ended}`)
    const login = wxlogin.create({ base })
    const token = await login.token()
    const elsewhere = (await direct('GET', `/onLogin?code=user-dave.elsewhere-${ended}`)).data.token
    if (ended) await direct('DELETE', '/session', token)
    await login.logOut({ all: true })
    assert.equal(phone.storage.size, 0)
    assert.equal(await isAlive(token), false)
    assert.equal(await isAlive(elsewhere), false)
    assert.equal(phone.count('wx.login'), ended ? 2 : 1)
  }
})

test('a logOut that fails says so, and keeps the token', async t => {
  const phone = new Phone('user-carol.kept')
  const token = await wxlogin.create({ base }).token()
  const problem = { code: 'store_unavailable', action: 'retry_later', request_id: 'r', detail: 'd' }
  const answer = () => [503, JSON.stringify(problem), { 'Retry-After': '2', 'X-Request-Id': 'r' }]
  const login = wxlogin.create({ base: await serve(t, answer) })
  const expected = { code: 'store_unavailable', status: 503, requestId: 'r', retryAfter: 2 }
  await assert.rejects(login.logOut(), expected)
  await assert.rejects(login.logOut({ all: true }), expected)
  phone.offline = 1
  await assert.rejects(login.logOut(), { code: 'wx_request_failed' })
  assert.equal(await login.token(), token)
})

test("the team's own backend learns who it is", async t => {
  const phone = new Phone('user-erin.1', 'user-erin.2', 'user-erin.never')
  const { openid } = (await direct('GET', '/onLogin?code=user-erin.openid')).data
  const seen = []
  const backend = await serve(t, async request => {
    let body = ''
    for await (const chunk of request.setEncoding('utf8')) body += chunk
    seen.push(`${request.method} ${body} ${request.headers['x-shop']}`)
    const [, token] = /^Bearer (wxs_\S+)$/.exec(request.headers.authorization)
    const { statusCode, data } = await direct('GET', '/session', token)
    return [statusCode, JSON.stringify({ yours: data.openid })]
  })
  const login = wxlogin.create({ base })
  const order = { url: `${backend}/orders`, method: 'POST', data: { tea: 2 }, header: { 'X-Shop': '7' } }
  const first = await login.request(order)
  assert.deepEqual([first.statusCode, first.data], [200, { yours: openid }])
  assert.ok(Object.keys(first.header).length > 0)
  await direct('DELETE', '/session', await login.token())
  const second = await login.request(order)
  assert.deepEqual([second.statusCode, second.data], [200, { yours: openid }])
  assert.deepEqual(seen, Array(3).fill('POST {"tea":2} 7'))
  assert.equal(phone.count('wx.login'), 2)
})

test('a request is repeated once and no more', async t => {
  const answers = [[401], [200, '{"action":"login_again"}'], [403, '{"action":"give_up"}'], [500, 'null']]
  for (const [index, answer] of answers.entries()) {
    const phone = new Phone(`user-erin.a${index}`, `user-erin.b${index}`, `user-erin.c${index}`)
    const backend = await serve(t, () => answer)
    const { statusCode } = await wxlogin.create({ base }).request({ url: `${backend}/` })
    assert.equal(statusCode, answer[0])
    const times = index < 2 ? 2 : 1
    assert.equal(phone.count('GET /'), times)
    assert.equal(phone.count('wx.login'), times)
  }
})

test('user data that does not open is sent again once, after a login', async () => {
  const decrypt = { url: '/session/decrypt', method: 'POST' }
  const SENT = 'POST /session/decrypt'

  // What the sandbox shows is encrypted for the login with this very code.
  let phone = new Phone('user-alice.other-key', 'user-alice', 'user-alice.never')
  const shown = JSON.parse(/-d '(\{.*\})'/.exec(introduction)[1])
  const opened = await wxlogin.create({ base }).request({ ...decrypt, data: shown })
  assert.equal(opened.statusCode, 200)
  assert.equal(opened.data.nickName, '带 Band')
  assert.deepEqual(phone.events, [...LOGIN, SENT, ...LOGIN, SENT])

  phone = new Phone('user-frank.1', 'user-frank.2', 'user-frank.never')
  const login = wxlogin.create({ base })
  const data = { encryptedData: 'AAAAAAAAAAAAAAAAAAAAAA==', iv: 'AAAAAAAAAAAAAAAAAAAAAA==' }
  const refused = await login.request({ ...decrypt, data })
  assert.equal(refused.statusCode, 422)
  assert.equal(refused.data.code, 'undecryptable')
  assert.deepEqual(phone.events, [...LOGIN, SENT, ...LOGIN, SENT])
  // The new token is as good as any.
  assert.equal((await login.request({ url: '/session' })).statusCode, 200)
  assert.equal(phone.count('wx.login'), 2)
})
