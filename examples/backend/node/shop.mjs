// A shop's backend: node shop.mjs

import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import { WxloginError, endSessions, phoneNumber, sign, signedIn, wechat } from './wxlogin.mjs'

const phones = new Map() // by user; a real shop has a database

const routes = {
  'GET /me': (user, key) => ({ openid: user.openid, phone: phones.get(key) }),

  'POST /phone': async (user, key, { code }) => {
    const number = await phoneNumber(user, code)
    phones.set(key, number.phoneNumber)
    return number
  },

  // What wx.requestVirtualPayment wants, with paySig, for which the shop has a key of its own.
  'POST /pay': async user => {
    const goods = { productId: 'tea', goodsPrice: 990, buyQuantity: 1, currencyType: 'CNY' }
    const signData = JSON.stringify({ offerId: '1', env: 0, outTradeNo: randomUUID().slice(4), ...goods })
    return { signData, signature: await sign(user, signData) }
  },

  // The message that the user has subscribed to, such as "your tea is on its way".
  'POST /message': async user => {
    const message = { touser: user.openid, template_id: 'TEMPLATE', data: { thing1: { value: 'tea' } } }
    try {
      await wechat(user, '/cgi-bin/message/subscribe/send', message)
      return { sent: true }
    } catch (error) {
      if (error.errcode === 43101) return { sent: false } // the user does not want it
      throw error
    }
  },

  'POST /comment': async (user, key, { text }) => {
    const check = { version: 2, scene: 2, openid: user.openid, content: text }
    const { result } = await wechat(user, '/wxa/msg_sec_check', check)
    return { published: result.suggest === 'pass' }
  },

  'DELETE /account': async (user, key) => {
    phones.delete(key)
    await endSessions(user)
  }
}

async function answer(request) {
  const user = await signedIn(request.headers.authorization)
  const route = routes[`${request.method} ${request.url}`]
  if (!route) return [404, { detail: 'There is no such route.' }]
  let body = ''
  for await (const chunk of request.setEncoding('utf8')) body += chunk
  return [200, await route(user, `${user.appid} ${user.openid}`, JSON.parse(body || '{}'))]
}

createServer((request, response) => {
  const send = (status, type, body) => response.writeHead(status, { 'Content-Type': type }).end(body)
  answer(request).then(
    ([status, body]) => send(status, 'application/json', JSON.stringify(body ?? {})),
    error => {
      if (error instanceof WxloginError) return send(error.status, 'application/problem+json', error.body)
      console.error(error)
      send(500, 'application/json', JSON.stringify({ detail: 'The shop has a fault.', action: 'retry_later' }))
    }
  )
}).listen(process.env.PORT || 8080, '127.0.0.1')
