// The Mini Program's client logs out: here, or everywhere.

const assert = require('node:assert/strict')
const { EventEmitter, once } = require('node:events')

const { LOGIN, Phone, create, direct, isAlive, serve, test, useSandbox } = require('./harness')

useSandbox()

test('logOut ends this session alone', async () => {
  const phone = new Phone('user-carol.phone', 'user-carol.again')
  const login = create()
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
  const login = create()
  await direct('DELETE', '/session', await login.token())
  await login.logOut()
  assert.equal(phone.storage.size, 0)
  assert.deepEqual(phone.events, [...LOGIN, 'DELETE /session'])
})

test('logOut ends a login that is in flight, and rejects what waits for it', async () => {
  const phone = new Phone('user-carol.in-flight', 'user-carol.afterwards')
  let greeted = 0
  const login = create({ onLogin: () => { greeted += 1 } })
  const waiting = [login.token(), login.user(), login.renew(), login.request({ url: '/session' })]
  const expected = { name: 'LoginError', code: 'logged_out', action: 'give_up' }
  const rejected = Promise.all(waiting.map(each => assert.rejects(each, expected)))
  while (phone.events.length < 2) await new Promise(setImmediate)
  await login.logOut()
  await rejected
  assert.equal(phone.storage.size, 0)
  assert.deepEqual(phone.events, [...LOGIN, 'DELETE /session'])
  assert.equal(await isAlive(phone.sent.at(-1).header.Authorization.slice('Bearer '.length)), false)
  assert.equal(greeted, 0)
  assert.equal((await login.request({ url: '/session' })).statusCode, 200) // a new one of the app
  assert.equal(greeted, 1)
})

test('nothing logs in for what was asked for just before a logOut', async () => {
  const phone = new Phone('user-carol.never')
  const login = create()
  const waiting = assert.rejects(login.token(), { code: 'logged_out' })
  await login.logOut()
  await waiting
  assert.deepEqual(phone.events, [])
})

test('a request on its way does not log in again after a logOut', async t => {
  const phone = new Phone('user-carol.on-its-way', 'user-carol.never')
  const moments = new EventEmitter()
  const backend = await serve(t, async () => {
    moments.emit('asked')
    await once(moments, 'logged out')
    return [401]
  })
  const login = create()
  const asked = once(moments, 'asked')
  const request = login.request({ url: `${backend}/slow` })
  await asked
  await login.logOut()
  moments.emit('logged out')
  await assert.rejects(request, { code: 'logged_out' })
  assert.equal(phone.count('wx.login'), 1)
})

test('what is asked for during a logOut waits for it and then logs in', async () => {
  const phone = new Phone('user-carol.during', 'user-carol.new')
  const login = create()
  const old = await login.token()
  const leaving = login.logOut()
  const [token] = await Promise.all([login.token(), leaving])
  assert.notEqual(token, old)
  assert.ok(await isAlive(token))
  assert.deepEqual(phone.events, [...LOGIN, 'DELETE /session', ...LOGIN])
})

test('a logOut during onLogin rejects what waits, and its requests wait for the logOut', async () => {
  const phone = new Phone('user-carol.hook', 'user-carol.hook-2')
  let calls = 0
  const login = create({
    onLogin: async () => {
      calls += 1
      if (calls > 1) return
      const leaving = login.logOut()
      await login.request({ url: '/session' })
      await leaving
    }
  })
  await assert.rejects(login.token(), { code: 'logged_out' })
  assert.deepEqual(phone.events, [...LOGIN, 'DELETE /session', ...LOGIN, 'GET /session'])
})

test('logOut does not wait for a login that waits for its second attempt', async () => {
  const phone = new Phone('error--1.waiting', 'user-carol.never')
  const login = create()
  const waiting = assert.rejects(login.token(), { code: 'logged_out' })
  while (phone.running.size > 0 || phone.count('GET /onLogin') === 0) await new Promise(setImmediate)
  await new Promise(setImmediate)
  const begin = process.hrtime.bigint()
  await login.logOut()
  assert.ok(process.hrtime.bigint() - begin < 1_900_000_000n, 'Retry-After is 2 s')
  await waiting
  assert.deepEqual(phone.events, LOGIN)
})

test('logOut everywhere ends all sessions, even if this one has ended', async () => {
  for (const ended of [false, true]) {
    const phone = new Phone(`user-dave.${ended}`, `user-dave.again-${ended}`)
    const login = create()
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

test('a failed logOut rejects and keeps the token', async t => {
  const phone = new Phone('user-carol.kept')
  const token = await create().token()
  const problem = { code: 'store_unavailable', action: 'retry_later', request_id: 'r', detail: 'd' }
  const answer = () => [503, JSON.stringify(problem), { 'Retry-After': '2', 'X-Request-Id': 'r' }]
  const base = await serve(t, answer)
  phone.storage.set(`wxlogin ${base}`, { token, openid: 'o' })
  const login = create({ base })
  const expected = { code: 'store_unavailable', status: 503, requestId: 'r', retryAfter: 2 }
  await assert.rejects(login.logOut(), expected)
  await assert.rejects(login.logOut({ all: true }), expected)
  phone.offline = 1
  await assert.rejects(login.logOut(), { code: 'wx_request_failed' })
  assert.equal(await login.token(), token)
})
