// wxlogin's client for Mini Programs: one file to copy, without dependencies.
//
//     const wxlogin = require('./wxlogin')
//     const login = wxlogin.create({ base: 'https://login.example.com' }) // once, for all pages
//     const { statusCode, data } = await login.request({ url: 'https://api.example.com/orders' })
//
// What rejects is an Error with `code` and `action` for programs (wxlogin's own, or `wx_login_failed`,
// `wx_request_failed` and `unexpected_answer`), `detail` for developers, and `status`, `requestId` and
// `retryAfter` (seconds) of the answer, if there was one. Tokens and codes are never in it.

const LONGEST_WAIT = 10 // seconds: nobody looks at a spinner for longer

/**
 * @param {object} settings
 * @param {string} settings.base where wxlogin is, such as 'https://login.example.com'
 * @param {string} [settings.appid] if wxlogin cannot tell this Mini Program by its Referer
 * @param {string} [settings.storageKey] where the token is kept
 * @param {number} [settings.timeout] milliseconds for each step of a login or log-out
 */
function create({ base, appid, storageKey = 'wxlogin.token', timeout = 10000 }) {
  if (!/^https?:\/\//.test(base)) throw new Error('wxlogin: base must be an http(s) URL')
  base = base.replace(/\/+$/, '')
  let running = null // the login under way, for all who ask meanwhile

  // The storage is read each time, so that several clients of one Mini Program agree.
  const kept = () => wx.getStorageSync(storageKey)
  // Another page may have renewed it meanwhile: only that very token goes.
  const drop = token => { if (kept() === token) wx.removeStorageSync(storageKey) }

  async function exchange() {
    const code = await newCode(timeout)
    const data = appid ? { code, appid } : { code }
    const answer = await send({ url: `${base}/onLogin`, data, timeout })
    const token = answer.statusCode === 200 && answer.data && answer.data.token
    if (!token) throw failure(answer)
    try {
      wx.setStorageSync(storageKey, token)
    } catch (error) {
      // A full storage is no failed login: whoever asks next logs in again.
    }
    return token
  }

  async function logIn() {
    try {
      return await exchange()
    } catch (error) {
      if (error.action === 'retry_later') await wait(Math.min(error.retryAfter, LONGEST_WAIT))
      else if (error.action !== 'login_again') throw error
      return exchange() // with a new code: the old one may be used up, even by a refusal
    }
  }

  /**
   * The kept token, or that of a login, which all who ask meanwhile share.
   * @returns {Promise<string>}
   */
  async function token() {
    if (kept()) return kept()
    if (!running) {
      const ended = () => { running = null }
      running = logIn()
      running.then(ended, ended) // a failed one too: the next call starts afresh
    }
    return running
  }

  async function ask(options, mayLogInAgain) {
    const used = await token()
    const url = options.url.startsWith('/') ? base + options.url : options.url
    const header = { ...options.header, Authorization: `Bearer ${used}` }
    const answer = await send({ ...options, url, header })
    const mustLogIn = answer.statusCode === 401 || (answer.data || {}).action === 'login_again'
    if (!mustLogIn || !mayLogInAgain) return { answer, used }
    drop(used)
    return ask(options, false)
  }

  /**
   * `wx.request` with the token. If the answer asks for a login, it logs in and repeats the request,
   * once. The token goes wherever the URL says: only to servers of yours.
   * @param {object} options those of wx.request, without callbacks; a URL that begins with '/' is wxlogin's
   * @returns {Promise<{statusCode: number, data: any, header: object}>} the answer, whatever its status
   */
  async function request(options) {
    return (await ask(options, true)).answer
  }

  /**
   * Ends this session, or all of this user's on all devices. The next request logs in again.
   * @param {{all?: boolean}} [options]
   * @returns {Promise<void>} rejects if wxlogin cannot do it now; the token is then kept
   */
  async function logOut({ all = false } = {}) {
    if (running) await running.catch(() => {}) // or its token would be kept after this
    if (!all && !kept()) return
    const options = { url: all ? '/session?all=true' : '/session', method: 'DELETE', timeout }
    // A session that has ended need not be; but the other ones are ended by one that lives.
    const { answer, used } = await ask(options, all)
    const isEnded = answer.statusCode === 401
    if (answer.statusCode === 204 || isEnded) drop(used)
    if (answer.statusCode !== 204 && (all || !isEnded)) throw failure(answer)
  }

  return { token, request, logOut }
}

const wait = seconds => new Promise(resolve => setTimeout(resolve, seconds * 1000))

function newCode(timeout) {
  return new Promise((resolve, reject) => {
    const fail = result => reject(noAnswer('wx_login_failed', result))
    const success = result => result.code ? resolve(result.code) : fail(result)
    wx.login({ timeout, success, fail })
  })
}

function send(options) {
  return new Promise((resolve, reject) => {
    const fail = result => reject(noAnswer('wx_request_failed', result))
    wx.request({ ...options, success: resolve, fail, complete: undefined })
  })
}

function noAnswer(code, { errMsg = '' }) {
  const detail = errMsg.replace(/\?\S*/g, '?…') // it may quote the URL, which has the login code
  const error = new Error(`wxlogin: ${code}: ${detail}`)
  return Object.assign(error, { code, action: 'retry_later', detail, retryAfter: 1 })
}

function failure({ statusCode: status, data, header }) {
  // A gateway in between may answer for wxlogin, in HTML.
  const mayPass = status === 429 || status >= 500
  const { code = 'unexpected_answer', action = mayPass ? 'retry_later' : 'give_up', detail } = data || {}
  const requestId = headerOf(header, 'x-request-id')
  const seconds = headerOf(header, 'retry-after')
  const retryAfter = /^\d+$/.test(seconds) ? Number(seconds) : 1
  const error = new Error(`wxlogin: ${status} ${code}: ${detail || 'not an answer of wxlogin'}`)
  return Object.assign(error, { code, action, status, requestId, detail, retryAfter })
}

// The case of header names differs between phones and DevTools.
function headerOf(header = {}, name) {
  return header[Object.keys(header).find(key => key.toLowerCase() === name)]
}

module.exports = { create }
