// wxlogin.js 0.1.0: wxlogin's client for Mini Programs, one file to copy, without dependencies.
// wxlogin.mjs (uni-app, Taro) and wxlogin.js (native) are the same code. wxlogin.d.ts describes settings,
// functions and errors.
//
//     import { create } from './wxlogin.mjs' // native: const { create } = require('./wxlogin')
//     const login = create({ base: 'https://login.example.com' }) // once, for all pages
//     const { data } = await login.request({ url: 'https://api.example.com/orders' })

const EVENTS = ['HeadersReceived', 'ChunkReceived', 'ProgressUpdate', 'Open', 'Message', 'Error', 'Close']

// Failures of wx.*, as `errno:errMsg`, that do not pass by waiting: a mistake of the program or its settings,
// or what the user, the phone or WeChat does not allow.
const MISTAKE = /^(112|1025|60000[289]|600010|1300002):|domain list|invalid url|declared|banned|param|cert_|ssl hand|not found|n't exist|not a f|开发者/i
const REFUSED = /^([13]|10[34]|1300202|60330\d|1402101):|privacy|den[iy]/i

class LoginError extends Error {
  constructor(code, action, detail, more) {
    super(`wxlogin: ${code}: ${detail}`)
    Object.assign(this, { name: 'LoginError', code, action, detail }, more)
  }
}

function create({ base, appid, storageKey = 'wxlogin', timeout = 10000, onLogin = () => {} } = {}) {
  const baseUrl = chooseBase(base)
  const key = `${storageKey} ${baseUrl}` // all versions of a Mini Program share a phone's storage
  let last // the user, also in case the storage fails
  let seen // the token in the storage when `last` was written or read
  let running // the login in flight, shared by all callers; `running.done` is its end with onLogin
  let leaving = Promise.resolve() // the last logout
  let logOuts = 0
  let logIns = 0 // calls of onLogin that have not ended
  let wake = () => {} // ends the wait of a login

  function kept() {
    try {
      const now = wx.getStorageSync(key)
      if (now.token !== seen) last = now // another client's
      seen = now.token
    } catch (error) {
      // What was written or read before is the best guess.
    }
    return last && isWord(last.token) ? last : {}
  }

  function keep(user) {
    last = user
    try {
      if (user) wx.setStorageSync(key, user)
      else wx.removeStorageSync(key)
      seen = wx.getStorageSync(key).token
    } catch (error) {
      // Nothing has changed there.
    }
    return user
  }

  const ask = (path, token, more) => call('request', {
    url: baseUrl + path, header: { Authorization: `Bearer ${token}` }, timeout, ...more
  }, 'statusCode')

  async function exchange() {
    const { code } = await call('login', { timeout }, 'code')
    const answer = await ask('/onLogin', '', { data: appid ? { code, appid } : { code }, header: {} })
    const { token, openid, unionid } = answer.data || {}
    if (!isWord(token)) throw failure(answer)
    return keep({ token, openid, unionid })
  }

  const logIn = (before = logOuts) => exchange().catch(async error => {
    const { action, retryAfter } = error
    if (action === 'retry_later' && retryAfter <= 10) { // seconds: a longer wait is left to the caller
      await new Promise(resolve => setTimeout(wake = resolve, retryAfter * 1000))
    } else if (action !== 'login_again') throw error
    stillIn(before)
    return exchange() // with a new code: even a refused exchange can use a code up
  })

  function stillIn(before) {
    if (before !== logOuts) throw new LoginError('logged_out', 'give_up', 'logOut')
  }

  function sharedLogin(before) {
    if (running) return running.done
    running = logIn()
    const end = () => { running = null } // after a failure too: the next call logs in again
    running.then(end, end)
    return running.done = running.then(async user => {
      stillIn(before)
      logIns++
      try {
        await onLogin(user) // which may make requests: the login has ended
        return user
      } catch (error) {
        drop(user.token) // so that the next login calls onLogin again
        throw error
      } finally {
        logIns--
      }
    })
  }

  /** The kept user, or that of a new login. Rejects if there was a logout since `before`. */
  async function session(before = logOuts, isNew) {
    await leaving
    stillIn(before)
    const user = kept().token && !isNew ? kept() : await sharedLogin(before)
    stillIn(before)
    return user
  }

  // Another page may have renewed the token meanwhile: only this one is dropped.
  function drop(token) {
    if (kept().token === token) keep()
  }

  async function authorized(send, before = logOuts, isRepeat) {
    const { token } = await session(before)
    const answer = send(token)
    if (isRepeat || logIns > 1) return answer // onLogin's own request logs in again once, and not for ever
    const { statusCode, status = statusCode, code, data } = await answer.catch(error => error) || {}
    if (status === 401 || /Socket/.test(code)) {
      // A backend may have a reason of its own for a 401, and a socket does not tell.
      const isDead = () => ask('/session', token).then(answer => answer.statusCode === 401, () => false)
      if (kept().token === token && !await isDead()) return answer
    } else if ((data || {}).action !== 'login_again') return answer
    drop(token)
    return authorized(send, before, true)
  }

  /** `wx[name]` with the token, as a promise that has the methods of wx's task too. */
  const withToken = name => options => {
    const { url, header, enableChunked, success, fail, complete } = options || {}
    const aborted = new LoginError('aborted', 'give_up', name)
    const isSocket = /Socket/.test(name)
    const listeners = {}
    let isStopped, task, result, stop

    // One listener for each event: on some phones a second one replaces the first.
    function listen(begun, succeed, fail) {
      let isHeld = isSocket // until it is known that there is no further attempt
      task = begun
      for (const event of EVENTS) {
        if (!begun || !begun[`on${event}`] || event === 'ChunkReceived' && !enableChunked) continue
        begun[`on${event}`](value => {
          if (event === 'Open') succeed(begun)
          else if (isSocket && isHeld) fail(value)
          isHeld = event === 'HeadersReceived' ? value.statusCode === 401 : isHeld && event !== 'Open'
          const tell = () => task === begun && listeners[event].forEach(listener => listener(value))
          if (isHeld) result.then(tell, tell)
          else tell()
        })
      }
    }

    const send = async token => {
      if (isStopped) throw aborted
      const all = { ...options, url: url.replace(/^(?=\/)/, baseUrl), header: { Authorization: `Bearer ${token}` } }
      for (const name in header) if (!/^authorization$/i.test(name)) all.header[name] = header[name]
      return call(name, all, !isSocket && 'statusCode', listen)
    }
    const promise = new Promise((resolve, reject) => {
      stop = reject
      if (typeof url !== 'string') throw new LoginError('missing_url', 'fix_request', name)
      result = authorized(send)
      result.then(resolve, reject)
    })
    for (const event of EVENTS) {
      const set = listeners[event] = new Set()
      promise[`on${event}`] = listener => set.add(listener)
      promise[`off${event}`] = listener => listener ? set.delete(listener) : set.clear()
    }
    promise.abort = promise.close = reason => {
      isStopped = true
      stop(aborted)
      if (task) task[isSocket ? 'close' : 'abort'](reason || {})
    }
    promise.send = message => promise.then(task => task.send(message), message.fail)
    if (success || fail) promise.then(success, fail)
    if (complete) promise.then(complete, complete)
    return promise
  }

  async function end(all) {
    if (running) await running.catch(() => {}) // its token must not outlive the logout
    const stop = async ({ token }, isNew) => {
      const answer = await ask(all ? '/session?all=true' : '/session', token, { method: 'DELETE' })
      if (answer.statusCode !== 204 && (isNew || answer.statusCode !== 401)) throw failure(answer)
      drop(token)
      return answer.statusCode === 204
    }
    const isEnded = kept().token && await stop(kept())
    if (all && !isEnded) await stop(await logIn(), true) // ending the others takes a living one
  }

  function logOut({ all } = {}) {
    logOuts++
    wake()
    const ended = leaving.then(() => end(all))
    leaving = ended.catch(() => {})
    return ended
  }

  /** `wx[name]` as a promise. It rejects if wx throws, fails, lacks this field, or does not call back in time. */
  const call = (name, options, field, begun = () => {}) => new Promise((resolve, reject) => {
    const { url, timeout } = options // without one, wx's own or that of app.json
    const fail = result => {
      clearTimeout(timer)
      const { errno, errMsg = `${name}: no answer` } = result || {}
      const detail = `${errMsg}`.replace(/(\?|wxs_|"code":)\S*/g, '$1…') // it may quote URL, header and data
      const seen = `${errno}:${detail}`
      const action = MISTAKE.test(seen) ? 'fix_request' : REFUSED.test(seen) ? 'give_up' : 'retry_later'
      reject(new LoginError(`wx_${name}_failed`, action, detail, { errno, retryAfter: 1, ...whose(url) }))
    }
    const succeed = result => {
      clearTimeout(timer)
      resolve(result)
    }
    const success = result => {
      const value = (result || {})[field] // a statusCode may be NaN: there was an answer
      if (value || typeof value === 'number') succeed(result)
      else if (field) fail(result) // a socket that is called for is not open yet
    }
    const timer = timeout && setTimeout(fail, timeout, { errMsg: `${name}: no answer in ${timeout} ms` })
    try {
      begun(wx[name]({ ...options, success, fail, complete: undefined }), succeed, fail)
    } catch (error) {
      fail({ errMsg: `${name}: ${error}` })
    }
  })

  const whose = url => ({
    server: !url ? 'wechat' : url.startsWith(baseUrl) ? 'wxlogin' : 'yours',
    host: url && url.replace(/^.*?\/\/([^/]*@)?|[/?#].*/g, '')
  })

  /** The error for an answer of wxlogin that is not the one expected. */
  function failure({ statusCode: status, data, header }) {
    const lower = {} // the case of header names differs between phones and DevTools
    for (const name in header) lower[name.toLowerCase()] = header[name]
    let { code, action, detail } = data || {}
    if (!isWord(code) || !isWord(action)) {
      // A gateway in between may answer instead of wxlogin, in HTML.
      code = 'unexpected_answer'
      action = status === 429 || status >= 500 ? 'retry_later' : 'give_up'
      detail = `HTTP status ${status}`
    }
    return new LoginError(code, action, detail, {
      status, requestId: lower['x-request-id'], retryAfter: +lower['retry-after'] || 1, ...whose(baseUrl)
    })
  }

  return {
    token: () => session().then(user => user.token),
    user: () => session().then(({ openid, unionid }) => ({ openid, unionid })),
    renew: () => session(logOuts, true).then(user => user.token),
    request: withToken('request'),
    uploadFile: withToken('uploadFile'),
    downloadFile: withToken('downloadFile'),
    connectSocket: withToken('connectSocket'),
    authorized,
    logOut
  }
}

function chooseBase(base) {
  const bases = typeof base === 'string' ? { release: base } : base || {}
  if (!Object.values({ release: '', ...bases }).every(url => /^https?:\/\/[^/]/.test(url))) {
    throw new LoginError('invalid_base', 'fix_request', 'base must be a URL')
  }
  let url = bases.release
  try {
    url = bases[wx.getAccountInfoSync().miniProgram.envVersion] || url
  } catch (error) {
    // Old versions of WeChat do not tell.
  }
  return url.replace(/\/+$/, '')
}

const isWord = value => typeof value === 'string' && /^[!-~]+$/.test(value)

module.exports = { create, LoginError }
