// What the tests of the Mini Program's client share: the sandbox, and a phone on which `wx` can fail.
//
// `npm ci` in this directory and `cargo build --example sandbox`, then `node --test` here. WXLOGIN_CLIENT
// names the client to test: wxlogin.js, wxlogin.mjs or what a build tool made of them.

const { spawn } = require('node:child_process')
const { once } = require('node:events')
const http = require('node:http')
const path = require('node:path')
const { after, before, test: testOfNode } = require('node:test')
const { pathToFileURL } = require('node:url')

const EXAMPLE = path.join(__dirname, '../../examples/miniprogram')
const CLIENT = process.env.WXLOGIN_CLIENT || path.join(EXAMPLE, 'wxlogin.js')
const SANDBOX = process.env.WXLOGIN_SANDBOX ||
  path.join(__dirname, '../../target/debug/examples/sandbox')
const LOGIN = ['wx.login', 'GET /onLogin']
const WAITS = [1000, 2000, 10000] // milliseconds that the client can wait before it tries again
const TIMEOUT = 8000 // milliseconds, none of WAITS

const setTimeoutOfNode = globalThis.setTimeout
const test = (name, body) => testOfNode(name, { timeout: 20000 }, body)

let client // the module
let base // where the sandbox listens

/** A client of the sandbox, or with other settings. */
const create = settings => client.create({ base, timeout: TIMEOUT, ...settings })

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

/** A phone: what `wx` does there, and a list of what it was asked for. */
class Phone {
  /** With codes for wx.login, in turn; an Error is a wx.login that fails. */
  constructor(...codes) {
    this.codes = codes
    this.storage = new Map()
    this.events = []
    this.urls = []
    this.timeouts = []
    this.envVersion = 'release'
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

  getAccountInfoSync() {
    return { miniProgram: { envVersion: this.envVersion } }
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
  CLIENT, EXAMPLE, LOGIN, Phone, create, direct, isAlive, sandbox: () => base, serve, skipWaits, test, useSandbox
}
