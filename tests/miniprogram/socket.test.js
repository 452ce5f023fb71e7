// The Mini Program's client opens sockets.

const assert = require('node:assert/strict')
const { once } = require('node:events')
const http = require('node:http')

const { LOGIN, Phone, create, direct, test, useSandbox, websockets } = require('./harness')

useSandbox()

const kill = token => direct('DELETE', '/session', token)

/** An echo for who is logged in; to others the handshake fails, and to nobody the server says why. */
async function echo(t, isOpen = true) {
  const server = http.createServer()
  const mayOpen = async ({ headers: { authorization = '' } }) => {
    const { statusCode } = await direct('GET', '/session', authorization.slice('Bearer '.length))
    return statusCode === 200 && isOpen
  }
  const sockets = websockets(server, mayOpen, (connection, data) => connection.send(`${data}!`))
  sockets.on('connection', connection => connection.send('welcome'))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.after(() => {
    for (const client of sockets.clients) client.terminate()
    server.close()
  })
  return `ws://127.0.0.1:${server.address().port}/chat`
}

test('a socket has the token, and resolves with its task when it is open', async t => {
  const phone = new Phone('user-leo.1')
  const url = await echo(t)
  const login = create()
  const seen = []
  const opening = login.connectSocket({ url, protocols: [] })
  opening.onOpen(() => seen.push('open'))
  opening.send({ data: 'early' }) // sent when it is open
  const closed = new Promise(resolve => opening.onClose(({ code }) => resolve(code)))
  const answered = new Promise(resolve => {
    opening.onMessage(({ data }) => {
      seen.push(data)
      if (data === 'late!') resolve()
    })
  })
  const socket = await opening
  socket.send({ data: 'late' })
  await answered
  assert.deepEqual(seen, ['open', 'welcome', 'early!', 'late!'])
  opening.close({ code: 1000 })
  assert.equal(await closed, 1000)
  assert.deepEqual(phone.events, [...LOGIN, 'CONNECT /chat'])
})

test('a handshake that fails because the token is dead is repeated once, after a login', async t => {
  const phone = new Phone('user-leo.dead-1', 'user-leo.dead-2')
  const url = await echo(t)
  const login = create()
  await kill(await login.token())
  const opening = login.connectSocket({ url })
  opening.onError(() => phone.events.push('error')) // the failure of the first attempt is not told
  opening.onClose(() => phone.events.push('close'))
  const [message] = await Promise.all([new Promise(resolve => opening.onMessage(resolve)), opening])
  assert.equal(message.data, 'welcome')
  assert.deepEqual(phone.events, [...LOGIN, 'CONNECT /chat', 'GET /session', ...LOGIN, 'CONNECT /chat'])
})

test('a handshake that fails for another reason is not repeated', async t => {
  const phone = new Phone('user-leo.closed')
  const url = await echo(t, false)
  const login = create()
  const opening = login.connectSocket({ url })
  const told = new Promise(resolve => opening.onError(resolve))
  let failed
  opening.send({ data: 'never', fail: error => { failed = error.code } })
  const expected = { name: 'LoginError', code: 'wx_connectSocket_failed', action: 'retry_later', server: 'yours' }
  await assert.rejects(opening, expected)
  assert.match((await told).errMsg, /401/)
  assert.equal(failed, 'wx_connectSocket_failed')
  assert.deepEqual(phone.events, [...LOGIN, 'CONNECT /chat', 'GET /session'])
})

test('close before a socket is open rejects', async t => {
  const phone = new Phone('user-leo.early')
  const login = create()
  const opening = login.connectSocket({ url: await echo(t) })
  opening.close()
  await assert.rejects(opening, { code: 'aborted', action: 'give_up' })
  await login.token()
  assert.deepEqual(phone.events, LOGIN)
})

test('a connectSocket that fails, or gives no task, rejects', async () => {
  const phone = new Phone('user-leo.none')
  const login = create()
  await login.token()
  phone.connectSocket = ({ fail }) => { fail({ errno: 600002, errMsg: 'connectSocket:fail url not in domain list' }) }
  const listed = { code: 'wx_connectSocket_failed', action: 'fix_request', errno: 600002, host: 'api.example.com' }
  await assert.rejects(login.connectSocket({ url: 'wss://api.example.com/chat' }), listed)
})
