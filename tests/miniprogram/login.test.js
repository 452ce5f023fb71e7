// The Mini Program's client logs in: by itself, once for all, and again where that can help.

const assert = require('node:assert/strict')

const {
  LOGIN, LoginError, Phone, create, createWith, direct, isAlive, sandbox, serve, skipWaits, test, useSandbox
} = require('./harness')

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
  const [[key, kept]] = [...phone.storage]
  assert.deepEqual([key, kept.token], [`mine ${sandbox()}`, token])
  assert.equal(phone.urls[0].searchParams.has('appid'), false)
  const unknown = create({ appid: 'wx0000000000000000' })
  await assert.rejects(unknown.token(), { code: 'unknown_app', action: 'fix_request', status: 400 })
  assert.deepEqual(phone.events, [...LOGIN, ...LOGIN])
})

test('the steps of a login and a logout have a timeout, and requests their own or that of app.json', async () => {
  const phone = new Phone('user-alice.timeout-1', 'user-alice.timeout-2')
  await create({ storageKey: 'other', timeout: undefined }).token()
  const login = create({ timeout: 3000 })
  await login.request({ url: '/session' })
  await login.request({ url: '/session', timeout: 700 })
  await login.logOut()
  assert.deepEqual(phone.timeouts, [10000, 10000, 3000, 3000, undefined, 700, 3000])
})

test('a base that is not a URL is refused at once', () => {
  const url = 'https://login.example.com'
  const wrong = [
    undefined, null, 7, 'login.example.com', 'https://', {}, [url], { develop: url }, { release: url, trial: 'x' }
  ]
  const expected = { name: 'LoginError', code: 'invalid_base', action: 'fix_request', message: /base/ }
  for (const base of wrong) assert.throws(() => create({ base }), expected)
  assert.throws(() => createWith(), expected)
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
  const used = { name: 'LoginError', code: 'code_used', action: 'login_again', status: 400 }
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

test('a Retry-After is obeyed if there is one, once', async t => {
  const waits = [['error--1.w', 2000], ['error-12345.w', 1000]]
  for (const [code, milliseconds] of waits) {
    const phone = new Phone(code, `user-alice.after${code}`)
    skipWaits(t, phone)
    await create().token()
    assert.deepEqual(phone.events, [...LOGIN, `${milliseconds} ms`, ...LOGIN])
  }
  const phone = new Phone('error--1.x', 'error--1.y', 'user-alice.never')
  skipWaits(t, phone)
  await assert.rejects(create().token(), { code: 'upstream_busy', action: 'retry_later', status: 503, retryAfter: 2 })
  assert.deepEqual(phone.events, [...LOGIN, '2000 ms', ...LOGIN])
})

test('a Retry-After longer than ten seconds rejects at once', async t => {
  let phone = new Phone('error-45011.x', 'user-alice.never')
  skipWaits(t, phone)
  const limited = { code: 'rate_limited', action: 'retry_later', status: 429, retryAfter: 60 }
  await assert.rejects(create().token(), limited)
  assert.deepEqual(phone.events, LOGIN)
  for (const [seconds, waits] of [[10, ['10000 ms', ...LOGIN]], [11, []]]) {
    const gateway = await serve(t, () => [429, '', { 'Retry-After': seconds }])
    phone = new Phone('user-alice.a', 'user-alice.b')
    skipWaits(t, phone)
    await assert.rejects(create({ base: gateway }).token(), { code: 'unexpected_answer', retryAfter: seconds })
    assert.deepEqual(phone.events, [...LOGIN, ...waits])
  }
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
  assert.ok(error instanceof Error && error instanceof LoginError())
  const { code, action, status, requestId, detail, server, host } = error
  assert.deepEqual({ code, action, status }, { code: 'user_blocked', action: 'give_up', status: 403 })
  assert.deepEqual([server, `http://${host}`], ['wxlogin', sandbox()])
  assert.match(requestId, /^[\x21-\x7e]+$/)
  assert.match(detail, /^WeChat blocks /)
  assert.deepEqual(phone.events, LOGIN)
})

test('user tells who it is without a further request, also after a restart', async () => {
  const phone = new Phone('user-alice.user')
  const expected = (await direct('GET', '/onLogin?code=user-alice.elsewhere')).data
  const login = create()
  for (const client of [login, create()]) {
    const { openid, unionid } = await client.user()
    assert.deepEqual([openid, unionid], [expected.openid, expected.unionid])
  }
  new Phone('guest-bob.user')
  assert.equal((await create().user()).unionid, undefined)
  assert.deepEqual(phone.events, LOGIN)
})

test('onLogin ends before what waits for the login goes on, and may make requests', async () => {
  const phone = new Phone('user-alice.hook-1', 'user-alice.hook-2')
  const users = []
  const login = create({
    onLogin: async user => {
      const { data } = await login.request({ url: '/session' })
      users.push([user.token, user.openid === data.openid])
    }
  })
  await Promise.all([login.request({ url: '/session' }), login.token()])
  const token = await login.token()
  assert.deepEqual(users, [[token, true]])
  assert.deepEqual(phone.events, [...LOGIN, 'GET /session', 'GET /session'])
  const renewed = await login.renew()
  assert.deepEqual(users, [[token, true], [renewed, true]])
})

test('an onLogin that fails is called again by the next login', async () => {
  const phone = new Phone('user-alice.hook-a', 'user-alice.hook-b')
  const hooks = [async () => { throw new Error('no backend') }, () => {}]
  const login = create({ onLogin: user => hooks.shift()(user) })
  const waiting = [login.token(), login.user(), login.request({ url: '/session' })]
  for (const each of waiting) await assert.rejects(each, { message: 'no backend' })
  assert.equal(phone.storage.size, 0)
  assert.ok(await isAlive(await login.token()))
  assert.deepEqual(phone.events, [...LOGIN, ...LOGIN])
})

test('an onLogin whose own request meets a dead token does not wait for itself', async () => {
  new Phone('user-alice.dead-1', 'user-alice.dead-2')
  let calls = 0
  const login = create({
    onLogin: async ({ token }) => {
      calls += 1
      if (calls === 1) await direct('DELETE', '/session', token)
      assert.equal((await login.request({ url: '/session' })).statusCode, 200)
    }
  })
  assert.equal((await login.request({ url: '/session' })).statusCode, 200)
  assert.equal(calls, 2)
})

test('an onLogin whose own request fails with login_again each time does not log in for ever', async () => {
  const phone = new Phone('user-alice.loop-1', 'user-alice.loop-2', 'user-alice.loop-3')
  const stale = { encryptedData: 'AAAAAAAAAAAAAAAAAAAAAA==', iv: 'AAAAAAAAAAAAAAAAAAAAAA==' }
  const seen = []
  const login = create({
    onLogin: async () => {
      const { data } = await login.request({ url: '/session/decrypt', method: 'POST', data: stale })
      seen.push(data.action)
    }
  })
  await login.token()
  assert.deepEqual(seen, ['login_again', 'login_again'])
  assert.equal(phone.count('GET /onLogin'), 2)
})

test('the versions of a Mini Program, which share a storage, do not take each other\'s token', async t => {
  const phone = new Phone('user-alice.develop', 'user-alice.release')
  const other = await serve(t, () => [200, JSON.stringify({ token: 'other', openid: 'o' })])
  const bases = { develop: sandbox(), release: other }
  phone.envVersion = 'develop'
  const develop = create({ base: bases })
  phone.envVersion = 'release'
  const release = create({ base: bases })
  assert.notEqual(await develop.token(), await release.token())
  assert.deepEqual([phone.storage.size, await release.token()], [2, 'other'])
})

test('a second copy of the file, in an independent sub-package, takes the token that the first has kept', async () => {
  const phone = new Phone('user-alice.copies')
  const login = create()
  const copy = create()
  const token = await login.token()
  assert.equal(await copy.token(), token)
  await login.logOut()
  phone.codes.push('user-alice.copies-2')
  assert.equal(await copy.token(), await login.token())
  assert.equal(phone.count('wx.login'), 2)
})
