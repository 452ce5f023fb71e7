// What wx does wrong on some phones costs an Error with code and action, or a token kept in memory.

const assert = require('node:assert/strict')
const { once } = require('node:events')
const http = require('node:http')
const { inspect } = require('node:util')

const { LOGIN, Phone, create, direct, isAlive, sandbox, skipWaits, test, useSandbox } = require('./harness')

useSandbox()

const fails = () => { throw new Error('fail: no space left, or broken, or not yet') }
const isLost = () => {}
/** Storages that fail, as methods of wx. */
const BROKEN = {
  'get throws': { getStorageSync: fails },
  'set throws': { setStorageSync: fails },
  'remove throws': { removeStorageSync: fails },
  'all throw': { getStorageSync: fails, setStorageSync: fails, removeStorageSync: fails },
  'nothing is kept': { setStorageSync: isLost },
  'nothing is removed': { removeStorageSync: isLost },
  'get has no token': { getStorageSync: () => ({ token: 7 }) },
  'there is none': { getStorageSync: undefined, setStorageSync: undefined, removeStorageSync: undefined }
}

for (const [name, storage] of Object.entries(BROKEN)) {
  test(`a broken storage (${name}) costs a token kept in memory and nothing more`, async () => {
    const code = turn => `user-ivan.${name.replaceAll(' ', '-')}-${turn}`
    const phone = Object.assign(new Phone(code(1), code(2), code(3), code(4), code('never')), storage)
    const login = create()
    const token = await login.token()
    assert.equal(await login.token(), token)
    assert.equal((await login.request({ url: '/session' })).statusCode, 200)
    assert.deepEqual(phone.events, [...LOGIN, 'GET /session'])

    phone.events.length = 0
    await direct('DELETE', '/session', token)
    assert.equal((await login.request({ url: '/session' })).statusCode, 200)
    assert.deepEqual(phone.events, ['GET /session', 'GET /session', ...LOGIN, 'GET /session'])
    assert.notEqual(await login.token(), token)

    phone.events.length = 0
    const renewed = await login.renew()
    assert.equal(await login.token(), renewed)
    await login.logOut()
    assert.equal(await isAlive(renewed), false)
    assert.notEqual(await login.token(), renewed)
    assert.deepEqual(phone.events, [...LOGIN, 'DELETE /session', ...LOGIN])
  })
}

test('a storage that works again is used again', async () => {
  const phone = new Phone('user-ivan.full', 'user-ivan.not-full')
  const { setStorageSync } = Phone.prototype
  phone.setStorageSync = fails
  const login = create()
  await login.token()
  phone.setStorageSync = setStorageSync
  const renewed = await login.renew()
  const [[key, { token }]] = [...phone.storage]
  assert.equal(token, renewed)
  phone.storage.set(key, { token: 'of-another-client', openid: 'o' })
  assert.equal(await login.token(), 'of-another-client')
})

test('a stored value that cannot be a token is ignored', async () => {
  const values = [7, {}, true, 'wxs_text', null, { token: 7 }, { token: 'line\nbreak' }, { token: ['x'] }]
  for (const [index, value] of values.entries()) {
    const phone = new Phone(`user-ivan.junk-${index}`)
    phone.storage.set(`wxlogin ${sandbox()}`, value)
    assert.ok(await isAlive(await create().token()))
    assert.deepEqual(phone.events, LOGIN)
  }
})

/** Ways in which wx.login and wx.request go wrong. */
const WRONG = {
  'never calls back': () => {},
  'throws': fails,
  'throws no Error': () => { throw undefined },
  'fails without a word': ({ fail }) => setImmediate(fail),
  'fails with no text': ({ fail }) => setImmediate(fail, { errMsg: { code: 7 } }),
  'succeeds with nothing': ({ success }) => setImmediate(success),
  'succeeds with null': ({ success }) => setImmediate(success, null),
  'succeeds without what counts': ({ success }) => success({ errMsg: 'ok' }), // before wx.login or wx.request returns
  'does not exist': undefined
}

for (const [name, wrong] of Object.entries(WRONG)) {
  for (const method of ['login', 'request']) {
    test(`a wx.${method} that ${name} becomes an Error, after its timeout at the latest`, async t => {
      const code = turn => `user-judy.${method}-${name.replaceAll(' ', '-')}-${turn}`
      const phone = new Phone(code(1))
      await create().token()
      skipWaits(t, phone)
      phone.login = ({ success }) => success({ code: code('never-sent') }) // at once: before the short timeout
      phone[method] = wrong
      const login = create({ timeout: 50 })
      const action = name === 'does not exist' ? 'fix_request' : 'retry_later'
      const expected = { name: 'LoginError', code: `wx_${method}_failed`, action, retryAfter: 1 }
      const isRight = error => {
        for (const [key, value] of Object.entries(expected)) assert.equal(error[key], value)
        assert.equal(typeof error.detail, 'string')
        assert.equal(/no answer in 50 ms/.test(error.detail), name === 'never calls back', error.detail)
        return true
      }
      await assert.rejects(login.renew(), isRight)
      await assert.rejects(create({ timeout: 50, storageKey: 'other' }).token(), isRight)
      if (method === 'login') return
      await assert.rejects(login.request({ url: '/session', timeout: 50 }), isRight)
      await assert.rejects(login.logOut(), isRight)
    })
  }
}

test('a login that answers after its timeout changes nothing any more', async t => {
  const phone = new Phone()
  skipWaits(t, phone)
  const answers = []
  phone.login = ({ success }) => {
    answers.push(success)
    if (answers.length === 2) success({ code: 'second' })
  }
  phone.request = ({ data: { code }, success }) => {
    phone.events.push(code)
    success({ statusCode: 200, data: { token: `token-of-${code}` } })
  }
  const login = create({ timeout: 50 })
  assert.equal(await login.token(), 'token-of-second')
  answers[0]({ code: 'first' })
  await new Promise(setImmediate)
  assert.equal(await login.token(), 'token-of-second')
  assert.deepEqual(phone.events, ['1000 ms', 'second'])
})

test('no timer is left when wx has answered', async t => {
  new Phone('user-judy.timers')
  const { setTimeout, clearTimeout } = globalThis
  t.after(() => Object.assign(globalThis, { setTimeout, clearTimeout }))
  const timers = new Set()
  globalThis.setTimeout = (...values) => {
    const timer = setTimeout(...values)
    timers.add(timer)
    return timer
  }
  globalThis.clearTimeout = timer => {
    timers.delete(timer)
    clearTimeout(timer)
  }
  await create().request({ url: '/session' })
  assert.equal(timers.size, 0)
})

/** What phones and DevTools say, and what can be done about it. */
const SAID = {
  fix_request: [
    [600002, 'request:fail url not in domain list'],
    [undefined, 'request:fail url not in domain list:login.example.com'],
    [600009, 'request:fail invalid url "login"'],
    [undefined, 'request:fail invalid url "login"'],
    [600001, 'request:fail -202:net::ERR_CERT_AUTHORITY_INVALID'],
    [600001, 'request:fail errcode:-201 cronet_error_code:-201 error_msg:net::ERR_CERT_DATE_INVALID'],
    [undefined, 'request:fail ssl hand shake error'],
    [112, 'login:fail api scope is not declared in the privacy agreement'],
    [1025, 'login:fail appid privacy api banned'],
    [undefined, 'login:fail 登录用户不是该小程序的开发者'],
    [600010, 'request:fail data no-serializable'],
    [1300002, 'uploadFile:fail ENOENT'],
    [undefined, 'uploadFile:fail file not found'],
    [undefined, "uploadFile:fail file doesn't exist"],
    [undefined, 'request:fail parameter error: parameter.url should be String instead of Undefined;']
  ],
  give_up: [
    [104, 'login:fail privacy permission is not authorized'],
    [undefined, 'login:fail privacy permission is not authorized'],
    [103, 'login:fail auth deny'],
    [undefined, 'request:fail:auth denied'],
    [3, 'request:fail system permission'],
    [1402101, 'login:fail wxa login is blocked'],
    [603301, 'downloadFile:fail exceed max file size']
  ],
  retry_later: [
    [5, 'request:fail fail:time out'],
    [undefined, 'request:fail timeout'],
    [undefined, 'request:fail 请求超时'],
    [600003, 'request:fail interrupted'],
    [600007, 'request:fail network exceed max task count'],
    [600001, 'request:fail -105:net::ERR_NAME_NOT_RESOLVED'],
    [undefined, 'uploadFile:fail kcferrordomaincfnetwork'],
    [undefined, 'request:fail 未能完成该操作。协议错误']
  ]
}

for (const [action, said] of Object.entries(SAID)) {
  test(`${action} is the action for what waiting ${action === 'retry_later' ? 'can' : 'cannot'} mend`, async t => {
    for (const [errno, errMsg] of said) {
      const phone = new Phone()
      skipWaits(t, phone)
      phone.login = ({ success }) => { phone.events.push('wx.login'); success({ code: 'any' }) }
      phone.request = ({ fail }) => fail({ errMsg, ...errno && { errno } })
      const error = await create().token().catch(error => error)
      assert.deepEqual([error.code, error.action, error.errno], ['wx_request_failed', action, errno], errMsg)
      assert.equal(phone.count('wx.login'), action === 'retry_later' ? 2 : 1, errMsg)
    }
  })
}

test('an error names the host and whose server it was', async t => {
  const phone = new Phone('user-judy.whose', new Error('login:fail'), new Error('login:fail'))
  skipWaits(t, phone)
  const login = create()
  await login.token()
  phone.offline = 3
  const whose = async call => {
    const { server, host } = await call.then(assert.fail, error => error)
    return [server, host]
  }
  assert.deepEqual(await whose(login.request({ url: '/session' })), ['wxlogin', sandbox().slice('http://'.length)])
  const yours = 'http://user:secret@api.example.com:8080/a@b?c=d'
  assert.deepEqual(await whose(login.request({ url: yours })), ['yours', 'api.example.com:8080'])
  assert.deepEqual(await whose(login.downloadFile({ url: 'http://api.example.com?x' })), ['yours', 'api.example.com'])
  assert.deepEqual(await whose(login.renew()), ['wechat', undefined])
})

test('request:ok with a statusCode of NaN is an answer', async () => {
  const phone = new Phone('user-judy.nan')
  phone.isNaN = true
  const login = create()
  const { data, statusCode } = await login.request({ url: '/session' })
  assert.deepEqual([data.openid, statusCode], [(await login.user()).openid, NaN])
  assert.deepEqual(phone.events, [...LOGIN, 'GET /session'])
})

test('an error does not tell the code or the token, whatever wx quotes', async t => {
  const phone = new Phone('user-judy.secret', 'user-judy.secret', 'user-judy.secret')
  const login = create()
  const token = await login.token()
  skipWaits(t, phone)
  phone.request = options => {
    throw new Error(`parameter error: ${JSON.stringify(options)} ${options.url}?code=user-judy.secret`)
  }
  for (const call of [login.renew, () => login.request({ url: '/session' }), login.logOut]) {
    const error = await call().then(assert.fail, error => error)
    assert.equal(error.code, 'wx_request_failed')
    const shown = inspect(error, { showHidden: true })
    assert.ok(!shown.includes('secret') && !shown.includes(token), shown)
  }
})

test('a login that does not get through is tried once more, with a new code', async t => {
  const phone = new Phone('user-alice.lost', 'user-alice.through')
  skipWaits(t, phone)
  phone.offline = 1
  assert.ok(await isAlive(await create().token()))
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
  const error = await create({ base: `http://127.0.0.1:${port}` }).token().catch(error => error)
  assert.ok(error instanceof Error)
  assert.equal(error.code, 'wx_request_failed')
  assert.equal(error.action, 'retry_later')
  assert.match(error.detail, /ECONNREFUSED/)
  assert.doesNotMatch(inspect(error, { showHidden: true }), /secret/)
  assert.equal(phone.count('wx.login'), 2)

  const login = create()
  await login.token()
  phone.events.length = 0
  phone.offline = 1
  const request = { url: '/session' }
  await assert.rejects(login.request(request), { name: 'LoginError', code: 'wx_request_failed' })
  // Not repeated: the server may have got it.
  assert.deepEqual(phone.events, ['GET /session'])
  assert.equal((await login.request(request)).statusCode, 200)
})

test('a wx.login that fails, or has no code, is tried once more', async t => {
  const phone = new Phone(new Error('login:fail timeout'), '', 'user-alice.third')
  skipWaits(t, phone)
  const login = create()
  await assert.rejects(login.token(), { name: 'LoginError', code: 'wx_login_failed', action: 'retry_later' })
  assert.deepEqual(phone.events, ['wx.login', '1000 ms', 'wx.login'])
  assert.ok(await isAlive(await login.token()))
})
