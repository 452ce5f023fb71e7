// What a backend asks wxlogin. Node 18 or newer.

const { WXLOGIN, WXLOGIN_INTERNAL, INTERNAL_TOKEN } = process.env
const TIMEOUT = 20_000 // milliseconds: more than WECHAT_TIMEOUT and WECHAT_CALL_TIMEOUT of wxlogin

/** A failure for the Mini Program: answer it with this status and body, whose `action` says what it does. */
export class WxloginError extends Error {
  constructor(status, body) {
    super(`wxlogin: ${status} ${body}`)
    this.status = status
    this.body = body
  }
}

/** WeChat has refused a call. */
export class WechatError extends Error {
  constructor(path, errcode) {
    super(`WeChat: ${path} ${errcode}`)
    this.errcode = errcode
  }
}

/**
 * Whose request this is, by its Authorization header: `{ appid, openid, unionid }`. Not behind a reverse proxy that
 * has asked already. Do not cache it: a lookup is cheap, and a session that was ended must be refused at once.
 */
export const signedIn = (authorization = '') => send('GET', `${WXLOGIN}/session`, authorization)

/** `{ phoneNumber, purePhoneNumber, countryCode }`, texts. */
export const phoneNumber = (user, code) => internal('POST', `${userPath(user)}/phone`, { code })

export const sign = async (user, data) => (await internal('POST', `${userPath(user)}/sign`, { data })).signature

export const endSessions = user => internal('DELETE', `${userPath(user)}/sessions`)

/** A call of WeChat's server API that answers with JSON, by a path in INTERNAL_WECHAT_PATHS. */
export async function wechat(user, path, body) {
  const answer = await internal('POST', `/wechat/${user.appid}${path}`, body)
  if (answer.errcode) throw new WechatError(path, answer.errcode)
  return answer
}

const userPath = ({ appid, openid }) => `/users/${encodeURIComponent(appid)}/${encodeURIComponent(openid)}`

async function internal(method, path, body) {
  try {
    return await send(method, WXLOGIN_INTERNAL + path, `Bearer ${INTERNAL_TOKEN}`, body)
  } catch (error) {
    // It is about INTERNAL_TOKEN, not about the user: a fault of this backend, so 500 to the Mini Program.
    if (error.status === 401) throw new Error(error.message)
    throw error
  }
}

async function send(method, url, authorization, body) {
  const headers = { authorization, 'content-type': 'application/json' }
  const signal = AbortSignal.timeout(TIMEOUT)
  const response = await fetch(url, { method, headers, body: body && JSON.stringify(body), signal })
  const text = await response.text()
  if (!response.ok) throw new WxloginError(response.status, text)
  return text ? JSON.parse(text) : undefined
}
