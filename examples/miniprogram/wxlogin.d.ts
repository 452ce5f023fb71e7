// Types of wxlogin.js and, by wxlogin.d.mts, of wxlogin.mjs.

/** What the Mini Program should do about a failure. */
export type Action =
  | 'login_again' // done by the client once already: show a message
  | 'retry_later' // wait `retryAfter` seconds, then do the same again
  | 'ask_again' // let the user press the phone number button again
  | 'give_up' // show a message: trying again will not help
  | 'fix_request' // the program has a bug, or its settings are wrong

/** What rejects. Neither a token nor a code is in it. */
export interface LoginError extends Error {
  /** wxlogin's own, or `wx_login_failed`, `wx_request_failed`, `unexpected_answer`, `missing_url`, `invalid_base`. */
  code: string
  action: Action
  /** One sentence for a developer. */
  detail: string
  /** HTTP status, if there was an answer. */
  status?: number
  requestId?: string
  /** Seconds. */
  retryAfter?: number
}

export interface Settings {
  /** wxlogin's URL, or one for each version of the Mini Program; `release` stands in for a missing one. */
  base: string | { develop?: string; trial?: string; release: string }
  /** If wxlogin cannot tell this Mini Program by its Referer. */
  appid?: string
  /** Where the token is kept; default `wxlogin.token`. */
  storageKey?: string
  /** Milliseconds for each step of a login or logout; default 10000. */
  timeout?: number
}

/** Those of `wx.request`, without callbacks. */
export interface RequestOptions {
  /** A URL that begins with `/` is wxlogin's. The token goes wherever it leads: only to servers of yours. */
  url: string
  method?: 'OPTIONS' | 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE' | 'TRACE' | 'CONNECT'
  data?: string | object | ArrayBuffer
  header?: Record<string, string>
  /** Milliseconds; default 60000. */
  timeout?: number
  dataType?: string
  responseType?: 'text' | 'arraybuffer'
  enableCache?: boolean
  enableHttp2?: boolean
  enableQuic?: boolean
}

export interface Answer<T> {
  statusCode: number
  data: T
  header: Record<string, string>
}

export interface Login {
  /** The kept token, or else that of a new login. */
  token(): Promise<string>
  /** `wx.request` with the token; the answer, whatever its status. */
  request<T = any>(options: RequestOptions): Promise<Answer<T>>
  /** Logs in, even if there is a token, so that wxlogin has the newest session_key. The new token. */
  renew(): Promise<string>
  /** Ends this session, or all sessions of this user on all devices. */
  logOut(options?: { all?: boolean }): Promise<void>
}

/** Throws a `LoginError` if `base` is not a URL. */
export function create(settings: Settings): Login
