// What the tests of the Mini Program's client share: the sandbox, other servers, and waits that are skipped.
//
// `npm ci` in this directory and `cargo build --example sandbox`, then `node --test` here. WXLOGIN_CLIENT
// names the client to test: wxlogin.js, wxlogin.mjs or what a build tool made of them.

const { spawn } = require('node:child_process')
const { once } = require('node:events')
const http = require('node:http')
const path = require('node:path')
const { after, before, test: testOfNode } = require('node:test')
const { pathToFileURL } = require('node:url')
const { WebSocketServer } = require('ws')

const { Phone, parsed } = require('./phone')

const EXAMPLE = path.join(__dirname, '../../examples/miniprogram')
const CLIENT = process.env.WXLOGIN_CLIENT || path.join(EXAMPLE, 'wxlogin.js')
const SANDBOX = process.env.WXLOGIN_SANDBOX ||
  path.join(__dirname, '../../target/debug/examples/sandbox')
const LOGIN = ['wx.login', 'GET /onLogin']
const WAITS = [1000, 2000, 10000] // milliseconds that the client can wait before it tries again
const TIMEOUT = 50000 // milliseconds, none of WAITS, and more than a busy machine takes

const setTimeoutOfNode = globalThis.setTimeout
const test = (name, body) => testOfNode(name, { timeout: 60000 }, body)

let client // the module
let base // where the sandbox listens

/** A client of the sandbox, or with other settings. */
const create = settings => client.create({ base, timeout: TIMEOUT, ...settings })

/** A client with just these settings. */
const createWith = (...settings) => client.create(...settings)

/** Starts the sandbox for the tests of a file. */
function useSandbox() {
  let child
  before(async () => {
    client = await import(pathToFileURL(CLIENT))
    if (!client.create) client = client.default // CommonJS that Node cannot see through
    const env = { ...process.env, LISTEN_ADDR: '127.0.0.1:0' }
    child = spawn(SANDBOX, { env, stdio: ['ignore', 'pipe', 'ignore'] })
    process.once('exit', () => child.kill())
    // It cannot start, or ends too early.
    const end = new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('exit', status => reject(new Error(`the sandbox ended: ${status}`)))
    })
    end.catch(() => {})
    let printed = ''
    child.stdout.setEncoding('utf8').on('data', text => { printed += text })
    const found = () => /(http:\/\/[\w.:]+)\/onLogin\?code=user-/.exec(printed)
    while (!found()) await Promise.race([once(child.stdout, 'data'), end])
    base = found()[1]
  })
  after(async () => {
    const exit = once(child, 'exit')
    child.kill()
    await exit
  })
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

/** Adds sockets to a server: for requests that may open one, and with what is done about each message. */
function websockets(server, mayOpen, onMessage) {
  const sockets = new WebSocketServer({ noServer: true })
  server.on('upgrade', async (request, socket, head) => {
    if (!await mayOpen(request)) return socket.end('HTTP/1.1 401 Unauthorized\r\n\r\n')
    sockets.handleUpgrade(request, socket, head, connection => {
      connection.on('message', data => onMessage(connection, data))
      sockets.emit('connection', connection)
    })
  })
  return sockets
}

/** Ends the client's waits at once, and notes among the events how long they would have been. */
function skipWaits(t, phone) {
  t.after(() => { globalThis.setTimeout = setTimeoutOfNode })
  globalThis.setTimeout = (callback, milliseconds, ...values) => {
    if (!WAITS.includes(milliseconds)) return setTimeoutOfNode(callback, milliseconds, ...values)
    phone.events.push(`${milliseconds} ms`)
    setImmediate(callback)
  }
}

module.exports = {
  CLIENT, EXAMPLE, LOGIN, LoginError: () => client.LoginError, Phone, create, createWith, direct, isAlive,
  sandbox: () => base, serve, skipWaits, test, useSandbox, websockets
}
