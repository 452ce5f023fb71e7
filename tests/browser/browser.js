// What the tests of the sandbox's page share: a real browser. tests/sandbox/page.rs says where the page is and
// where the pictures go.

const assert = require('node:assert/strict')
const { existsSync } = require('node:fs')
const path = require('node:path')
const { after, before, test: testOfNode } = require('node:test')

const { chromium } = require('playwright-core')

const { PAGE, PICTURES } = process.env
const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--no-proxy-server'
]
const BROWSERS = ['/usr/bin/chromium', '/usr/bin/google-chrome']
const WIDE = { width: 1320, height: 900 }
const NARROW = { width: 380, height: 800 }
const test = (name, body) => testOfNode(name, { timeout: 60000 }, body)

let browser

/** Starts the browser for the tests of a file. */
function useBrowser() {
  before(async () => {
    browser = await chromium.launch({ executablePath: BROWSERS.find(existsSync), args: FLAGS })
  })
  after(() => browser.close())
}

/** A new tab at a sandbox without users, in which nothing may fail and nothing may come from elsewhere. */
async function open(t, settings, query = '') {
  await call('POST', 'sandbox/reset')
  const context = await browser.newContext({ viewport: WIDE, permissions: ['clipboard-read', 'clipboard-write'], ...settings })
  context.setDefaultTimeout(20000)
  const page = await context.newPage()
  const faults = []
  page.on('pageerror', error => faults.push(String(error)))
  page.on('request', request => {
    if (!request.url().startsWith(PAGE) && !request.url().startsWith('data:')) faults.push(request.url())
  })
  page.on('console', message => {
    // A refused login is an answer like any other.
    if (message.type() === 'error' && !/^Failed to load resource/.test(message.text())) faults.push(message.text())
  })
  t.after(async () => {
    await context.close()
    assert.deepEqual(faults, [])
  })
  await page.goto(PAGE + query)
  return page
}

/** One of the calls that the page makes. */
async function call(method, path, body) {
  const headers = { 'Content-Type': 'application/json' }
  const answer = await fetch(PAGE + path, { method, headers, body: body && JSON.stringify(body) })
  const text = await answer.text()
  return { status: answer.status, json: text ? JSON.parse(text) : null }
}

/** A login as a Mini Program makes it in DevTools; the answer, or what went wrong. */
async function logInAtDevTools(page) {
  const service = await page.locator('.addresses code').first().textContent()
  const random = () => Math.random().toString(36).slice(2).padEnd(16, 'x').slice(0, 16)
  const answer = await fetch(`${service}/onLogin?code=${random()}${random()}`)
  return { status: answer.status, ...await answer.json() }
}

async function session(page, token) {
  const service = await page.locator('.addresses code').first().textContent()
  const answer = await fetch(`${service}/session`, { headers: { Authorization: `Bearer ${token}` } })
  return answer.status
}

const button = (page, name) => page.getByRole('button', { name, exact: true })

const picture = (page, name) => page.screenshot({ path: path.join(PICTURES, name), fullPage: true })

module.exports = {
  NARROW, PAGE, WIDE, button, call, logInAtDevTools, open, picture, session, test, useBrowser
}
