// Logs a user in and fetches a phone number by node-easywechat. Prints what it got as JSON.

const { MiniApp } = require('node-easywechat')

const { WECHAT_APPID, WECHAT_SECRET, WECHAT_API_BASE } = process.env

/** With the older or with the stable way to an access_token. */
function app(isStable) {
  return new MiniApp({
    app_id: WECHAT_APPID,
    secret: WECHAT_SECRET,
    use_stable_access_token: isStable,
    http: { baseURL: WECHAT_API_BASE, proxy: false }
  })
}

const logIn = code => app(false).getUtils().codeToSession(code)
const refusal = code => logIn(code).catch(error => error.message)

async function phone(isStable, code) {
  const answer = await app(isStable).getClient().postJson('wxa/business/getuserphonenumber', { code })
  return answer.toObject()
}

async function run() {
  return {
    login: await logIn('user-easywechat'),
    used: await refusal('user-easywechat'),
    refused: await refusal('error-40029'),
    phone: await phone(false, 'phone-easywechat'),
    stable: await phone(true, 'phone-easywechat.2')
  }
}

run().then(results => console.log(JSON.stringify(results)))
