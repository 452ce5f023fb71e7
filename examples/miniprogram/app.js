const wxlogin = require('./wxlogin')

App({
  // One client for all pages, which take it by getApp().login.
  login: wxlogin.create({
    base: {
      develop: 'http://127.0.0.1:3000', // the sandbox
      release: 'https://login.example.com' // your wxlogin; the trial version uses it too
    }
  }),

  // Your own backend, which fetches the phone number: README.md says how to start one.
  backend: 'http://127.0.0.1:8080'
})
