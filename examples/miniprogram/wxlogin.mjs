// wxlogin's client for Mini Programs: one file to copy, without dependencies. wxlogin.mjs (uni-app, Taro)
// and wxlogin.js (native) are the same code; wxlogin.d.ts has the types of both.
//
//     import { create } from './wxlogin.mjs' // native: const { create } = require('./wxlogin')
//     const login = create({ base: 'https://login.example.com' }) // once, for all pages
//     const { data } = await login.request({ url: '/session' })
//     console.log(data.openid)
//
// What rejects is an Error with `code` and `action` for programs (wxlogin's own, or `wx_login_failed`,
// `wx_request_failed`, `unexpected_answer` and `missing_url`), `detail` for developers, and `status`,
// `requestId` and `retryAfter` (seconds) of the answer, if there was one. It holds no token and no code.

const MAX_WAIT = 10 // seconds before a second login attempt, even if Retry-After is longer
const REQUEST_TIMEOUT = 60000 // milliseconds, the default of wx.request

/**
 * @param {object} settings
 * @param {string | {develop?: string, trial?: string, release: string}} settings.base wxlogin's URL, or one
 *     for each version of the Mini Program; `release` stands in for a missing one
 * @param {string} [settings.appid] if wxlogin cannot tell this Mini Program by its Referer
 * @param {string} [settings.storageKey] where the token is kept
 * @param {number} [settings.timeout] milliseconds for each step of a login or logout
 */
function create({ base, appid, storageKey = 'wxlogin.token', timeout = 10000 }) {
  const baseUrl = chooseBase(base)
  const store = tokenStore(storageKey)
  let running = null // the login in flight, shared by all callers

  async function exchange() {
    const { code } = await call('login', { timeout }, 'code')
    const data = appid ? { code, appid } : { code }
    const answer = await call('request', { url: `${baseUrl}/onLogin`, data, timeout }, 'statusCode')
    const token = answer.statusCode === 200 && answer.data && answer.data.token
    if (!isToken(token)) throw failure(answer)
    store.set(token)
    return token
  }

  async function logIn() {
    try {
      return await exchange()
    } catch (error) {
      if (error.action === 'retry_later') await wait(Math.min(error.retryAfter, MAX_WAIT))
      else if (error.action !== 'login_again') throw error
      return exchange() // with a new code: even a refused exchange can use a code up
    }
  }

  /**
   * Logs in, even if there is a token: wxlogin then has the newest session_key, which a payment is signed with.
   * Callers share a login that is in flight.
   * @returns {Promise<string>} the new token
   */
  async function renew() {
    if (!running) {
      const ended = () => { running = null }
      running = logIn()
      running.then(ended, ended) // after a failure too: the next call logs in again
    }
    return running
  }

  /**
   * The kept token, or else that of a new login.
   * @returns {Promise<string>}
   */
  async function token() {
    return store.get() || renew()
  }

  // Another page may have renewed the token meanwhile: only this one is dropped.
  function drop(used) {
    if (store.get() === used) store.set('')
  }

  async function ask(options, mayLogInAgain) {
    const used = await token()
    const url = options.url.startsWith('/') ? baseUrl + options.url : options.url
    const header = { ...options.header, Authorization: `Bearer ${used}` }
    const timeout = options.timeout || REQUEST_TIMEOUT
    const answer = await call('request', { ...options, url, header, timeout }, 'statusCode')
    const mustLogIn = answer.statusCode === 401 || (answer.data || {}).action === 'login_again'
    if (!mustLogIn || !mayLogInAgain) return { answer, used }
    drop(used)
    return ask(options, false)
  }

  /**
   * `wx.request` with the token. If the answer asks for a login, it logs in and repeats the request, once.
   * The token goes to whatever server the URL names: call only your own.
   * @param {object} options those of wx.request, without callbacks; a URL that begins with '/' is wxlogin's
   * @returns {Promise<{statusCode: number, data: any, header: object}>} the answer, whatever its status
   */
  async function request(options) {
    if (!options || typeof options.url !== 'string') throw failed('missing_url', 'fix_request', 'no url to request')
    return (await ask(options, true)).answer
  }

  /**
   * Ends this session, or all sessions of this user on all devices. The next request logs in again.
   * @param {{all?: boolean}} [options]
   * @returns {Promise<void>} rejects if the session could not be ended; the token is then kept
   */
  async function logOut({ all = false } = {}) {
    if (running) await running.catch(() => {}) // or its token would be kept after the logout
    if (!all && !store.get()) return
    const options = { url: all ? '/session?all=true' : '/session', method: 'DELETE', timeout }
    // A 401 means that this session has ended already; ending the others takes a living one.
    const { answer, used } = await ask(options, all)
    const isEnded = answer.statusCode === 401
    if (answer.statusCode === 204 || isEnded) drop(used)
    if (answer.statusCode !== 204 && (all || !isEnded)) throw failure(answer)
  }

  return { token, request, renew, logOut }
}

function chooseBase(base) {
  const bases = base && typeof base === 'object' ? base : { release: base }
  const isUrl = url => typeof url === 'string' && /^https?:\/\/[^/]/.test(url)
  if (![bases.release, ...Object.values(bases)].every(isUrl)) {
    throw failed('invalid_base', 'fix_request', 'base must be an http(s) URL, or an object of them with release')
  }
  let version = 'release'
  try {
    version = wx.getAccountInfoSync().miniProgram.envVersion
  } catch (error) {
    // Old versions of WeChat do not tell.
  }
  return (bases[version] || bases.release).replace(/\/+$/, '')
}

/** Keeps a token in the storage, or in memory while the storage fails. */
function tokenStore(key) {
  let last = ''
  let isBroken = false // the storage did not take what it was given last

  function get() {
    try {
      if (!isBroken) last = wx.getStorageSync(key) // anew each time: there may be several clients
    } catch (error) {
      // What was read or written before is the best guess.
    }
    return isToken(last) ? last : ''
  }

  function set(token) {
    last = token
    try {
      if (token) wx.setStorageSync(key, token)
      else wx.removeStorageSync(key)
      isBroken = (wx.getStorageSync(key) || '') !== token
    } catch (error) {
      isBroken = true
    }
  }

  return { get, set }
}

const isToken = value => typeof value === 'string' && /^[\x21-\x7e]+$/.test(value)

const wait = seconds => new Promise(resolve => setTimeout(resolve, seconds * 1000))

/** `wx[name]` as a promise. It rejects if wx throws, fails, lacks this field, or does not call back in time. */
function call(name, options, field) {
  return new Promise((resolve, reject) => {
    const fail = result => {
      clearTimeout(timer)
      const text = String((result && result.errMsg) || `${name}: no ${field}`)
      const detail = text.replace(/(\?|wxs_|"code":)\S*/g, '$1…') // it may quote the URL, header and data
      const action = detail.includes('domain list') ? 'fix_request' : 'retry_later'
      reject(failed(`wx_${name}_failed`, action, detail, { retryAfter: 1 }))
    }
    const success = result => {
      if (!result || !result[field]) return fail(result)
      clearTimeout(timer)
      resolve(result)
    }
    const timer = setTimeout(fail, options.timeout, { errMsg: `${name}: no answer in ${options.timeout} ms` })
    try {
      wx[name]({ ...options, success, fail, complete: undefined })
    } catch (error) {
      fail({ errMsg: `${name}: ${error}` })
    }
  })
}

/** The Error for an answer that is not the one expected. */
function failure({ statusCode: status, data, header }) {
  const more = { status, requestId: headerOf(header, 'x-request-id') }
  const seconds = headerOf(header, 'retry-after')
  more.retryAfter = /^\d+$/.test(seconds) ? Number(seconds) : 1
  const { code, action, detail } = data || {}
  if (typeof code === 'string' && typeof action === 'string') return failed(code, action, detail || '', more)
  // A gateway in between may answer instead of wxlogin, in HTML.
  const mayPass = status === 429 || status >= 500
  const other = `HTTP status ${status}, and not an answer of wxlogin`
  return failed('unexpected_answer', mayPass ? 'retry_later' : 'give_up', other, more)
}

// The case of header names differs between phones and DevTools.
function headerOf(header, name) {
  const found = Object.entries(header || {}).find(([key]) => key.toLowerCase() === name)
  return found && found[1]
}

function failed(code, action, detail, more) {
  return Object.assign(new Error(`wxlogin: ${code}: ${detail}`), { code, action, detail, ...more })
}

export { create }
