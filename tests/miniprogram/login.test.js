// The Mini Program's client logs in: by itself, once for all, and again where that can help.

const assert = require('node:assert/strict')

const { LOGIN, Phone, create, direct, isAlive, sandbox, serve, skipWaits, test, useSandbox } = require('./harness')

useSandbox()

test('ten pages that ask at once share one login', async () => {
  const phone = new Phone('user-alice.pages', 'user-alice.more')
  const login = create()
  const tokens = await Promise.all(Array.from({ length: 10 }, () => login.token()))
  assert.deepEqual(phone.events, LOGIN)
  assert.equal(new Set(tokens).size, 1)
  assert.ok(await isAlive(tokens[0]))
  assert.equal(await login.token(), tokens[0])
  assert.deepEqual(phone.events, LOGIN)
})

test('a restarted client has its token still', async () => {
  const phone = new Phone('user-alice.restart', 'user-alice.never')
  const token = await create().token()
  const restarted = create({ base: `${sandbox()}/` })
  assert.equal(await restarted.token(), token)
  const { statusCode, data } = await restarted.request({ url: '/session' })
  assert.equal(statusCode, 200)
  assert.match(data.openid, /^o/)
  assert.deepEqual(phone.events, [...LOGIN, 'GET /session'])
})

test('the token is kept where the settings say, and the appid is sent if they have one', async () => {
  const phone = new Phone('user-alice.key', 'user-alice.appid')
  const token = await create({ storageKey: 'mine' }).token()
  assert.deepEqual([...phone.storage], [['mine', token]])
  assert.equal(phone.urls[0].searchParams.has('appid'), false)
  const unknown = create({ appid: 'wx0000000000000000' })
  await assert.rejects(unknown.token(), { code: 'unknown_app', action: 'fix_request', status: 400 })
  assert.deepEqual(phone.events, [...LOGIN, ...LOGIN])
})

test('the steps of a login and a logout have a timeout, and requests have their own', async () => {
  const phone = new Phone('user-alice.timeout-1', 'user-alice.timeout-2')
  await create({ storageKey: 'other', timeout: undefined }).token()
  const login = create({ timeout: 3000 })
  await login.request({ url: '/session' })
  await login.request({ url: '/session', timeout: 700 })
  await login.logOut()
  assert.deepEqual(phone.timeouts, [10000, 10000, 3000, 3000, 60000, 700, 3000])
})

test('a base that is not a URL is refused at once', () => {
  const url = 'https://login.example.com'
  const wrong = [
    undefined, null, 7, 'login.example.com', 'https://', {}, [url], { develop: url }, { release: url, trial: 'x' }
  ]
  const expected = { name: 'Error', code: 'invalid_base', action: 'fix_request', message: /base/ }
  for (const base of wrong) assert.throws(() => create({ base }), expected)
})

test('each version of the Mini Program has its base, and without one that of the release', async t => {
  const release = 'http://release.invalid'
  for (const version of ['develop', 'trial', 'release', 'unheard-of', undefined]) {
    const expected = version === 'develop' ? 'develop' : 'release'
    const phone = new Phone('user-alice.version', 'user-alice.version')
    phone.envVersion = version
    skipWaits(t, phone)
    phone.request = ({ url, fail }) => { phone.urls.push(url); fail({ errMsg: 'request:fail' }) }
    const login = create({ base: { develop: 'http://develop.invalid/', release } })
    await assert.rejects(login.logOut({ all: true }), { code: 'wx_request_failed' })
    assert.equal(phone.urls[0], `http://${expected}.invalid/onLogin`)
  }
  for (const getAccountInfoSync of [undefined, () => { throw new Error('not yet') }, () => ({})]) {
    const phone = new Phone('user-alice.unversioned')
    phone.getAccountInfoSync = getAccountInfoSync
    assert.ok(await create({ base: { develop: 'http://develop.invalid', release: sandbox() } }).token())
  }
})

test('a code that was used is followed by the next one', async () => {
  const phone = new Phone('error-40163', 'user-alice.next')
  assert.ok(await isAlive(await create().token()))
  assert.deepEqual(phone.events, [...LOGIN, ...LOGIN])
})

test('a second refusal rejects for all callers, and the next call starts afresh', async () => {
  const phone = new Phone('error-40163.a', 'error-40163.b', 'user-alice.afresh')
  const login = create()
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
  assert.ok(await isAlive(await create().token()))
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
    await create().token()
    assert.deepEqual(phone.events, [...LOGIN, `${milliseconds} ms`, ...LOGIN])
  }
  const phone = new Phone('error-45011.x', 'error-45011.y', 'user-alice.never')
  skipWaits(t, phone)
  const limited = { code: 'rate_limited', action: 'retry_later', status: 429, retryAfter: 60 }
  await assert.rejects(create().token(), limited)
  assert.deepEqual(phone.events, [...LOGIN, '10000 ms', ...LOGIN])
})

test('a gateway that answers instead of wxlogin is asked again when that can help', async t => {
  const html = { 'Content-Type': 'text/html', 'Retry-After': 'Wed, 21 Oct 2026 07:28:00 GMT' }
  for (const [status, again] of [[502, true], [429, true], [404, false], [200, false]]) {
    const gateway = await serve(t, () => [status, '<html></html>', html])
    const phone = new Phone('user-alice.x', 'user-alice.y', 'user-alice.z')
    skipWaits(t, phone)
    const login = create({ base: gateway })
    const action = again ? 'retry_later' : 'give_up'
    await assert.rejects(login.token(), { code: 'unexpected_answer', action, status })
    assert.deepEqual(phone.events, again ? [...LOGIN, '1000 ms', ...LOGIN] : LOGIN)
    assert.equal(phone.storage.size, 0)
  }
})

test("JSON that is not wxlogin's is not taken for its failure", async t => {
  const halves = ['{"code": 500, "action": "login_again"}', '{"code": "oops"}', '{"action": "login_again"}']
  for (const body of [...halves, '[]', 'null', '7']) {
    const gateway = await serve(t, () => [404, body])
    const phone = new Phone('user-alice.json', 'user-alice.json')
    const expected = { code: 'unexpected_answer', action: 'give_up', status: 404, retryAfter: 1 }
    await assert.rejects(create({ base: gateway }).token(), expected)
    assert.deepEqual(phone.events, LOGIN)
  }
})

test('a blocked user gets give_up, without a second attempt', async () => {
  const phone = new Phone('error-40226', 'user-alice.never')
  const error = await create().token().catch(error => error)
  assert.ok(error instanceof Error)
  const { code, action, status, requestId, detail } = error
  assert.deepEqual({ code, action, status }, { code: 'user_blocked', action: 'give_up', status: 403 })
  assert.match(requestId, /^[\x21-\x7e]+$/)
  assert.match(detail, /^WeChat blocks /)
  assert.deepEqual(phone.events, LOGIN)
})
