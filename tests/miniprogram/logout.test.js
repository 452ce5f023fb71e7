// The Mini Program's client logs out: here, or everywhere.

const assert = require('node:assert/strict')

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

test('logOut ends a login that is in flight', async () => {
  const phone = new Phone('user-carol.in-flight')
  const login = create()
  const token = login.token()
  await login.logOut()
  assert.equal(phone.storage.size, 0)
  assert.equal(await isAlive(await token), false)
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
  const login = create({ base: await serve(t, answer) })
  const expected = { code: 'store_unavailable', status: 503, requestId: 'r', retryAfter: 2 }
  await assert.rejects(login.logOut(), expected)
  await assert.rejects(login.logOut({ all: true }), expected)
  phone.offline = 1
  await assert.rejects(login.logOut(), { code: 'wx_request_failed' })
  assert.equal(await login.token(), token)
})
