// Uses the client that openapi-typescript and openapi-fetch make of docs/openapi.yaml.

import assert from 'node:assert/strict'
import createClient from 'openapi-fetch'
import type { components, paths } from './wxlogin.js'

const { WXLOGIN, WXLOGIN_INTERNAL, INTERNAL_TOKEN } = process.env
assert(WXLOGIN && WXLOGIN_INTERNAL)
const phone = createClient<paths>({ baseUrl: WXLOGIN })
const backend = createClient<paths>({
  baseUrl: WXLOGIN_INTERNAL, headers: { Authorization: `Bearer ${INTERNAL_TOKEN}` }
})

const logIn = (code: string) => phone.GET('/onLogin', { params: { query: { code } } })

const refused = await logIn('error-40029')
assert(refused.error)
const problem: components['schemas']['Problem'] = refused.error
const texts: string[] = [problem.title, problem.detail, problem.request_id]
assert(texts.every(text => text.length > 0))
const errcode: number | undefined = problem.errcode
assert.deepEqual([problem.status, errcode], [400, 40029])
const { code, action }: { code: components['schemas']['ErrorCode']; action: components['schemas']['Action'] } = problem
assert.deepEqual([code, action], ['invalid_code', 'login_again'])
// @ts-expect-error: there is no such code
assert(refused.error.code !== 'no_such_code')
// @ts-expect-error: there is no such action
assert(refused.error.action !== 'no_such_action')

const { data: login } = await logIn('user-alice')
assert(login)
const { token, expires_in }: { token: string; expires_in: number } = login
assert(expires_in > 0)
const headers = { Authorization: `Bearer ${token}` }
const session = await phone.GET('/session', { headers })
assert(session.data)
const { appid, openid, unionid } = session.data
assert.equal(openid, login.openid)
const mayBeAbsent: string | undefined = unionid
assert(mayBeAbsent)

const user = { params: { path: { appid, openid } } }
const number = await backend.POST('/users/{appid}/{openid}/phone', { ...user, body: { code: 'phone-alice' } })
assert(number.data)
assert.match(number.data.purePhoneNumber, /^1\d{10}$/)
const spent = await backend.POST('/users/{appid}/{openid}/phone', { ...user, body: { code: 'error-40029' } })
assert(spent.error?.code === 'invalid_phone_code' && spent.error.action === 'ask_again')
const signed = await backend.POST('/users/{appid}/{openid}/sign', { ...user, body: { data: '{}' } })
assert.match(signed.data?.signature ?? '', /^[0-9a-f]{64}$/)
const key = await backend.GET('/users/{appid}/{openid}/session_key', user)
assert.equal(key.data?.valid, true)
const { data: kept } = await backend.GET('/users/{appid}/{openid}/sessions', user)
const lives: number[] = kept?.sessions.map(({ created_at, expires_at }) => expires_at - created_at) ?? []
assert.deepEqual(lives, [expires_in])

const foreign = await createClient<paths>({ baseUrl: WXLOGIN_INTERNAL }).GET('/access_token/{appid}', user)
assert.equal(foreign.error?.code, 'invalid_internal_token')
const ended = await backend.DELETE('/users/{appid}/{openid}/sessions', user)
assert.equal(ended.response.status, 204)
assert.equal((await phone.GET('/session', { headers })).error?.code, 'invalid_token')
