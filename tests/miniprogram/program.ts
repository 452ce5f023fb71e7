// A front end in TypeScript, for `tsc --strict`: what it may say, and below what it may not.

import { create, type Action, type Login, type LoginError } from '../../examples/miniprogram/wxlogin'
import { create as createOfModule } from '../../examples/miniprogram/wxlogin.mjs'

const settings = { base: { develop: 'http://127.0.0.1:3000', release: 'https://login.example.com' } }
const login: Login = create(settings)
export const same: Login = createOfModule({ ...settings, appid: 'wx', storageKey: 'token', timeout: 5000 })
create({ base: 'https://login.example.com' })

interface Order { id: number }

export async function use(): Promise<number> {
  try {
    const tokens: string[] = [await login.token(), await login.renew()]
    const answer = await login.request<Order[]>({ url: '/orders', method: 'POST', data: { tokens }, timeout: 1 })
    await login.logOut()
    await login.logOut({ all: true })
    return answer.statusCode + answer.data[0].id + Number(answer.header['Retry-After'])
  } catch (error) {
    const { code, action, detail, status, requestId, retryAfter } = error as LoginError
    return advice(action).length + (code + detail + requestId).length + (status ?? 0) + (retryAfter ?? 0)
  }
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

export function wrong(error: LoginError) {
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
  // @ts-expect-error callbacks: there is a promise
  login.request({ url: '/session', success: () => {} })
  // @ts-expect-error the token comes later
  login.token().length
  // @ts-expect-error misspelt
  login.logout()
  // @ts-expect-error no such action
  return error.action === 'retry'
}
