// A front end in TypeScript, for `tsc --strict`: what it may say, and below what it may not.

import { create, LoginError, type Action, type Login, type User } from '../../examples/miniprogram/wxlogin'
import { create as createOfModule, LoginError as ErrorOfModule } from '../../examples/miniprogram/wxlogin.mjs'

const settings = { base: { develop: 'http://127.0.0.1:3000', release: 'https://login.example.com' } }
const login: Login = create(settings)
export const same: Login = createOfModule({ ...settings, appid: 'wx', storageKey: 'token', timeout: 5000 })
create({
  base: 'https://login.example.com',
  onLogin: ({ openid, token }) => login.request({ url: 'https://api.example.com/users', data: { openid, token } })
})

interface Order { id: number }

export async function use(): Promise<number> {
  try {
    const tokens: string[] = [await login.token(), await login.renew()]
    const { openid, unionid = 'none' }: User = await login.user()
    const answer = await login.request<Order[]>({ url: '/orders', method: 'POST', data: { tokens }, timeout: 1 })
    await login.logOut()
    await login.logOut({ all: true })
    return answer.statusCode + answer.data[0].id + Number(answer.header['Retry-After']) + (openid + unionid).length
  } catch (error) {
    if (!(error instanceof LoginError)) throw error
    const { code, action, detail, status, requestId, retryAfter, errno, host, server } = error
    const numbers = (status ?? 0) + (retryAfter ?? 0) + (errno ?? 0)
    return advice(action).length + (code + detail + requestId + host + (server === 'yours')).length + numbers
  }
}

/** All options and all methods of wx's tasks, and callbacks. */
export async function tasks(filePath: string) {
  const chunks: ArrayBuffer[] = []
  const stream = login.request({
    url: '/stream', enableChunked: true, redirect: 'manual', enableHttpDNSFallback: true, useHighPerformanceMode: true,
    responseType: 'arraybuffer', success: ({ statusCode }) => statusCode + 1, fail: ({ action }) => advice(action)
  })
  stream.onHeadersReceived(({ header }) => header)
  stream.onChunkReceived(({ data }) => chunks.push(data))
  stream.offChunkReceived()
  stream.abort()
  const upload = login.uploadFile({ url: '/avatar', filePath, name: 'file', formData: { a: 1 }, enableHttp2: true })
  upload.onProgressUpdate(({ progress }) => progress + 1)
  const text: string = (await upload).data
  const download = login.downloadFile({ url: '/invoice', enableProfile: true })
  download.offProgressUpdate(() => {})
  const path: string = (await download).tempFilePath
  const opening = login.connectSocket({ url: 'wss://api.example.com', protocols: ['chat'], tcpNoDelay: true })
  opening.onMessage(({ data }) => data)
  const socket: WechatMiniprogram.SocketTask = await opening
  socket.send({ data: text + path })
  opening.close({ code: 1000 })
  const { statusCode }: { statusCode: number } = await login.authorized(async token => ({ statusCode: token.length }))
  return statusCode
}

// Not a string if an action were missing here.
function advice(action: Action): string {
  switch (action) {
    case 'login_again': return 'try again'
    case 'retry_later': return 'try again later'
    case 'ask_again': return 'press again'
    case 'give_up': return 'impossible'
    case 'fix_request': return 'a bug'
  }
}

export function wrong(error: ErrorOfModule) {
  // @ts-expect-error no settings
  create()
  // @ts-expect-error no base
  create({ appid: 'wx' })
  // @ts-expect-error no release
  create({ base: { develop: 'http://127.0.0.1:3000' } })
  // @ts-expect-error a misspelt version
  create({ base: { release: 'https://login.example.com', trail: 'https://login.example.com' } })
  // @ts-expect-error a misspelt setting
  createOfModule({ base: 'https://login.example.com', timeOut: 5 })
  // @ts-expect-error milliseconds are a number
  createOfModule({ base: 'https://login.example.com', timeout: '5s' })
  // @ts-expect-error no url
  login.request({ method: 'GET' })
  // @ts-expect-error no such method
  login.request({ url: '/session', method: 'PATCH' })
  // @ts-expect-error a misspelt option
  login.request({ url: '/session', enableChunk: true })
  // @ts-expect-error no filePath
  login.uploadFile({ url: '/avatar', name: 'file' })
  // @ts-expect-error an upload has no chunks
  login.uploadFile({ url: '/avatar', name: 'file', filePath: '' }).onChunkReceived(() => {})
  // @ts-expect-error a socket is closed, not aborted
  login.connectSocket({ url: 'wss://api.example.com' }).abort()
  // @ts-expect-error send gives a promise
  login.authorized(token => token)
  // @ts-expect-error the token comes later
  login.token().length
  // @ts-expect-error misspelt
  login.logout()
  // @ts-expect-error no such action
  return error.action === 'retry'
}
