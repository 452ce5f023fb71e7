export * from './wxlogin.js'
