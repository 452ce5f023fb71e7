// The Mini Program's client sends requests with its token, and repeats one after a new login.

const assert = require('node:assert/strict')
const crypto = require('node:crypto')
const { EventEmitter, once } = require('node:events')

const { LOGIN, Phone, create, direct, isAlive, sandbox, serve, test, useSandbox } = require('./harness')

useSandbox()

/** Who logs in with this code. */
async function identity(code) {
  const { token } = (await direct('GET', `/onLogin?code=${code}`)).data
  return (await direct('GET', '/session', token)).data
}

/** User data as WeChat encrypts it after a login with this code. The sandbox derives session_key from the code. */
function encrypted(code, userData) {
  const key = crypto.createHash('sha256').update(`session_key ${code}`).digest().subarray(0, 16)
  const iv = crypto.randomBytes(16)
  const cipher = crypto.createCipheriv('aes-128-cbc', key, iv)
  const bytes = Buffer.concat([cipher.update(JSON.stringify(userData)), cipher.final()])
  return { encryptedData: bytes.toString('base64'), iv: iv.toString('base64') }
}

test('requests with an ended token share one new login', async () => {
  const phone = new Phone('user-alice.old', 'user-alice.new', 'user-alice.never')
  const login = create()
  const old = await login.token()
  await direct('DELETE', '/session', old)
  phone.events.length = 0
  const pages = Array.from({ length: 5 }, () => login.request({ url: '/session' }))
  for (const { statusCode } of await Promise.all(pages)) assert.equal(statusCode, 200)
  assert.equal(phone.count('wx.login'), 1)
  assert.equal(phone.count('GET /onLogin'), 1)
  // Each is sent twice; whether the token is dead is asked until the first answer to that.
  const questions = phone.count('GET /session') - 10
  assert.ok(questions >= 1 && questions <= 5, `${questions} questions`)
  assert.notEqual(await login.token(), old)
})

test('a late 401 does not drop the token that another page got meanwhile', async t => {
  const phone = new Phone('user-alice.late-1', 'user-alice.late-2', 'user-alice.never')
  const login = create()
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
  assert.equal(phone.count('GET /session'), 3) // no question about the late 401
  assert.equal(phone.count('wx.login'), 2)
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
  const login = create()
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
  const answers = [[200, '{"action":"login_again"}'], [422, '{"action":"login_again"}'], [403, '{"action":"give_up"}'], [500, 'null']]
  for (const [index, answer] of answers.entries()) {
    const phone = new Phone(`user-erin.a${index}`, `user-erin.b${index}`, `user-erin.c${index}`)
    const backend = await serve(t, () => answer)
    const { statusCode } = await create().request({ url: `${backend}/` })
    assert.equal(statusCode, answer[0])
    const times = index < 2 ? 2 : 1
    assert.equal(phone.count('GET /'), times)
    assert.equal(phone.count('wx.login'), times)
  }
})

test('a backend that answers 401 for a reason of its own causes no login', async t => {
  const phone = new Phone('user-erin.own', 'user-erin.never')
  const problem = { code: 'invalid_token', action: 'login_again' }
  const answers = [[401], [401, 'no'], [401, JSON.stringify(problem)]]
  const login = create()
  for (const [status, body = ''] of answers) {
    const backend = await serve(t, () => [status, body])
    assert.equal((await login.request({ url: `${backend}/` })).statusCode, 401)
  }
  assert.equal(phone.count('wx.login'), 1)
  assert.equal(phone.count('GET /'), 3)

  // Nor does one whose 401 cannot be asked about.
  const backend = await serve(t, () => [401])
  const { request } = Phone.prototype
  phone.request = function (options) {
    if (options.url.startsWith(sandbox())) this.offline = 1
    return request.call(this, options)
  }
  assert.equal((await login.request({ url: `${backend}/` })).statusCode, 401)
  assert.equal(phone.count('wx.login'), 1)
})

test('all options go through, header names in any case, and the token is ours', async () => {
  const phone = new Phone('user-erin.options')
  const login = create()
  const token = await login.token()
  const options = { enableHttp2: true, dataType: 'json', redirect: 'manual', enableHttpDNS: false, unheardOf: 1 }
  await login.request({ url: '/session', header: { authorization: 'Basic x', AUTHORIZATION: 'y', 'x-a': '1' }, ...options })
  const { success, fail, complete, header, url, ...sent } = phone.sent.at(-1)
  assert.deepEqual(header, { Authorization: `Bearer ${token}`, 'x-a': '1' })
  assert.deepEqual(sent, options)
})

test('callbacks given by habit are called', async () => {
  const phone = new Phone('user-erin.habit')
  const login = create()
  const called = []
  const success = ({ statusCode }) => called.push(statusCode)
  const fail = ({ code }) => called.push(code)
  const complete = result => called.push(result.statusCode || result.action)
  await login.request({ url: '/session', success, fail, complete })
  phone.offline = 1
  await login.request({ url: '/session', success, fail, complete }).catch(() => {})
  login.request({ url: '/session', success, fail, complete }).abort()
  await new Promise(setImmediate)
  assert.deepEqual(called, [200, 200, 'wx_request_failed', 'retry_later', 'aborted', 'give_up'])
})

test('more than ten at once are queued by wx, and share one login', async () => {
  const phone = new Phone('user-erin.queue')
  const login = create()
  const all = await Promise.all(Array.from({ length: 25 }, () => login.request({ url: '/session' })))
  assert.deepEqual(new Set(all.map(({ statusCode }) => statusCode)), new Set([200]))
  assert.equal(phone.count('wx.login'), 1)
})

test('undecryptable user data is sent again once, after a new login', async () => {
  const decrypt = { url: '/session/decrypt', method: 'POST' }
  const SENT = 'POST /session/decrypt'

  // Encrypted with the session_key of the second login: the first one cannot decrypt it.
  let phone = new Phone('user-grace.first', 'user-grace.second', 'user-grace.never')
  const { openid, appid } = await identity('user-grace.identity')
  const watermark = { timestamp: Math.floor(Date.now() / 1000), appid }
  const userData = encrypted('user-grace.second', { openId: openid, nickName: '带 Band', watermark })
  const opened = await create().request({ ...decrypt, data: userData })
  assert.equal(opened.statusCode, 200)
  assert.equal(opened.data.nickName, '带 Band')
  assert.deepEqual(phone.events, [...LOGIN, SENT, ...LOGIN, SENT])

  phone = new Phone('user-frank.1', 'user-frank.2', 'user-frank.never')
  const login = create()
  const data = { encryptedData: 'AAAAAAAAAAAAAAAAAAAAAA==', iv: 'AAAAAAAAAAAAAAAAAAAAAA==' }
  const refused = await login.request({ ...decrypt, data })
  assert.equal(refused.statusCode, 422)
  assert.equal(refused.data.code, 'undecryptable')
  assert.deepEqual(phone.events, [...LOGIN, SENT, ...LOGIN, SENT])
  // The new token is as good as any.
  assert.equal((await login.request({ url: '/session' })).statusCode, 200)
  assert.equal(phone.count('wx.login'), 2)
})

test('ask_again of the backend reaches the page, without a new login', async t => {
  const phone = new Phone('user-heidi.phone', 'user-heidi.never')
  const problem = { code: 'invalid_phone_code', action: 'ask_again' }
  const backend = await serve(t, () => [400, JSON.stringify(problem)])
  const press = { url: `${backend}/phone`, method: 'POST', data: { code: 'f'.repeat(64) } }
  const { statusCode, data } = await create().request(press)
  assert.deepEqual([statusCode, data], [400, problem])
  assert.deepEqual(phone.events, [...LOGIN, 'POST /phone'])
})

test('renew logs in afresh, and the token kept before is replaced', async () => {
  const phone = new Phone('user-heidi.1', 'user-heidi.2', 'user-heidi.never')
  const login = create()
  const old = await login.token()
  const renewed = await login.renew()
  assert.notEqual(renewed, old)
  assert.ok(await isAlive(renewed))
  assert.equal(await login.token(), renewed)
  assert.deepEqual([...phone.storage.values()].map(({ token }) => token), [renewed])
  assert.deepEqual(phone.events, [...LOGIN, ...LOGIN])
})

test('renew shares a login in flight', async () => {
  const phone = new Phone('user-heidi.shared', 'user-heidi.never')
  const login = create()
  const [token, ...renewed] = await Promise.all([login.token(), login.renew(), login.renew()])
  assert.deepEqual(renewed, [token, token])
  assert.deepEqual(phone.events, LOGIN)
})

test('a renew that fails keeps the token', async () => {
  const phone = new Phone('user-heidi.kept', 'error-40226.renew')
  const login = create()
  const token = await login.token()
  await assert.rejects(login.renew(), { code: 'user_blocked', action: 'give_up' })
  assert.equal(await login.token(), token)
  assert.deepEqual(phone.events, [...LOGIN, ...LOGIN])
})

test('a request without a url is refused, and sends nothing', async () => {
  const phone = new Phone()
  for (const options of [undefined, {}, { url: 7 }]) {
    await assert.rejects(create().request(options), { name: 'LoginError', code: 'missing_url', action: 'fix_request' })
  }
  assert.deepEqual(phone.events, [])
})
