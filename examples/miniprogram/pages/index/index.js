const { login, backend } = getApp()

// What the user reads, by `action`. 'login_again' arrives here only after the client has logged in anew.
const ADVICE = {
  login_again: 'Please try again. 请重试。',
  retry_later: 'Please try again later. 请稍后再试。',
  ask_again: 'Please press the phone number button again. 请重新点击手机号按钮。',
  give_up: 'This does not work for you. 无法完成该操作。',
  fix_request: 'The program has a bug, or its settings are wrong. 程序或配置有误。'
}

Page({
  data: { openid: '', phoneNumber: '', message: '' },

  onLoad() {
    return this.whoAmI()
  },

  // Logs in only if there is no valid session.
  whoAmI() {
    return this.show(async () => {
      const { openid } = await ask({ url: '/session' })
      return { openid }
    })
  },

  // A new login, even if there is a session: also what to do just before a payment.
  logIn() {
    return this.show(async () => {
      await login.renew()
      const { openid } = await ask({ url: '/session' })
      return { openid }
    })
  },

  logOut() {
    return this.show(async () => {
      await login.logOut()
      return { openid: '', phoneNumber: '' }
    })
  },

  // The phone code goes to your own backend, which asks wxlogin's internal listener for the number. The Mini
  // Program never talks to that listener: whoever has its token has every user's data.
  onPhoneNumber({ detail }) {
    return this.show(async () => {
      if (!detail.code) throw new Error(detail.errMsg) // the user refused, or this account may not ask
      const { purePhoneNumber } = await ask({ url: `${backend}/phone`, method: 'POST', data: { code: detail.code } })
      return { phoneNumber: purePhoneNumber }
    })
  },

  /** Shows what the steps give, or why they failed. */
  async show(steps) {
    try {
      this.setData({ message: '', ...await steps() })
    } catch (error) {
      this.setData({ message: `${ADVICE[error.action] || ''} ${error.message}`.trim() })
    }
  }
})

/** The data of a good answer. What else comes is thrown, in wxlogin's form if it has one. */
async function ask(options) {
  const { statusCode, data } = await login.request(options)
  if (statusCode === 200) return data
  const { code, action, detail } = data || {}
  throw Object.assign(new Error(`${statusCode} ${code || ''} ${detail || ''}`), { action })
}
