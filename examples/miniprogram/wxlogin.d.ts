// Types of wxlogin.js and, by wxlogin.d.mts, of wxlogin.mjs. They use those of `wx`: DevTools' TypeScript projects
// have them; elsewhere, install miniprogram-api-typings and name it in `types` of tsconfig.json.

/** What the Mini Program should do about a failure. */
export type Action =
  | 'login_again' // done by the client once already: show a message
  | 'retry_later' // wait `retryAfter` seconds, then do the same again
  | 'ask_again' // let the user press the phone number button again
  | 'give_up' // show a message: trying again will not help
  | 'fix_request' // the program has a bug, or its settings are wrong

/** What rejects. Neither a token nor a code is in it. */
export class LoginError extends Error {
  constructor(code: string, action: Action, detail: string, more?: object)
  /**
   * wxlogin's own, or the client's: `wx_login_failed`, `wx_request_failed`, `wx_uploadFile_failed`,
   * `wx_downloadFile_failed`, `wx_connectSocket_failed`, `unexpected_answer`, `aborted`, `logged_out`,
   * `missing_url`, `invalid_base`.
   */
  code: string
  action: Action
  /** One sentence for a developer, or the errMsg of `wx`. */
  detail?: string
  /** HTTP status, if there was an answer. */
  status?: number
  requestId?: string
  /** Seconds. */
  retryAfter?: number
  /** That of `wx`, if it gave one. */
  errno?: number
  /** That of the URL, with its port. */
  host?: string
  /** Who was asked. */
  server?: 'wechat' | 'wxlogin' | 'yours'
}

export interface User {
  openid: string
  /** Absent if WeChat sends none. */
  unionid?: string
}

export interface Settings {
  /** wxlogin's URL, or one for each version of the Mini Program; `release` stands in for a missing one. */
  base: string | { develop?: string; trial?: string; release: string }
  /** If wxlogin cannot tell this Mini Program by its Referer. */
  appid?: string
  /** Begins the name under which the user is kept in the storage; default `wxlogin`. The URL follows. */
  storageKey?: string
  /** Milliseconds for each step of a login or logout; default 10000. */
  timeout?: number
  /**
   * Called after each login, before whatever waits for it goes on: to create the user at your own backend, by
   * `login.request`. If it fails, so does what waits, and the next request logs in and calls it again.
   */
  onLogin?: (user: User & { token: string }) => unknown
}

/**
 * The options of `wx`. A URL that begins with `/` is wxlogin's. The token goes wherever the URL leads: only to
 * servers of yours. Callbacks are called as well; `fail` gets what rejects.
 */
type Options<O, R> = Omit<O, 'success' | 'fail' | 'complete'> & {
  success?: (result: R) => void
  fail?: (error: LoginError) => void
  complete?: (result: R | LoginError) => void
}

type Data = string | WechatMiniprogram.IAnyObject | ArrayBuffer
export type Answer<T extends Data = any> = WechatMiniprogram.RequestSuccessCallbackResult<T>
export type RequestOptions<T extends Data = any> = Options<WechatMiniprogram.RequestOption<T>, Answer<T>>
export type UploadOptions = Options<WechatMiniprogram.UploadFileOption, WechatMiniprogram.UploadFileSuccessCallbackResult>
export type DownloadOptions =
  Options<WechatMiniprogram.DownloadFileOption, WechatMiniprogram.DownloadFileSuccessCallbackResult>
export type SocketOptions = Options<WechatMiniprogram.ConnectSocketOption, WechatMiniprogram.SocketTask>

/**
 * A promise that has the methods of wx's task at once. Listeners that are set while a login runs are set when the
 * task begins. After `abort`, or `close` before a socket is open, it rejects with `aborted`.
 */
type Running<R, T> = Promise<R> & T

export interface Login {
  /** The kept token, or else that of a new login. */
  token(): Promise<string>
  /** Who that is: no further request. */
  user(): Promise<User>
  /**
   * `wx.request` with the token; the answer, whatever its status. After a 401 for a token that is dead, and after
   * an answer whose `action` is `login_again`, it logs in and repeats the request, once. So do the next three, after a 401.
   */
  request<T extends Data = any>(options: RequestOptions<T>): Running<Answer<T>, WechatMiniprogram.RequestTask>
  uploadFile(options: UploadOptions):
    Running<WechatMiniprogram.UploadFileSuccessCallbackResult, WechatMiniprogram.UploadTask>
  downloadFile(options: DownloadOptions):
    Running<WechatMiniprogram.DownloadFileSuccessCallbackResult, WechatMiniprogram.DownloadTask>
  /** Resolves with the task when the socket is open. */
  connectSocket(options: SocketOptions): Running<WechatMiniprogram.SocketTask, WechatMiniprogram.SocketTask>
  /**
   * For other HTTP libraries: calls `send` with the token, and once more with that of a new login if what it
   * resolves or rejects with has a `statusCode` or `status` of 401 and the token is dead.
   */
  authorized<R>(send: (token: string) => Promise<R>): Promise<R>
  /** Logs in, even if there is a token, so that wxlogin has the newest session_key. The new token. */
  renew(): Promise<string>
  /**
   * Ends this session, or all sessions of this user on all devices. What waits for a login rejects with
   * `logged_out`. Nothing logs in after that, until `renew` or a new request asks for it.
   */
  logOut(options?: { all?: boolean }): Promise<void>
}

/** Throws a `LoginError` if `base` is not a URL. */
export function create(settings: Settings): Login
