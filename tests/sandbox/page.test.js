// The sandbox's page in a real browser. Started by tests/it/sandbox_page.rs, which says where the page is and
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
const NARROW = { width: 380, height: 800 }
const test = (name, body) => testOfNode(name, { timeout: 60000 }, body)

let browser
before(async () => {
  browser = await chromium.launch({ executablePath: BROWSERS.find(existsSync), args: FLAGS })
})
after(() => browser.close())

/** A new tab, in which nothing may fail and nothing may come from elsewhere. */
async function open(t, settings) {
  const context = await browser.newContext({ viewport: { width: 1240, height: 900 }, ...settings })
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
  await page.goto(PAGE)
  return page
}

const button = (page, name) => page.getByRole('button', { name, exact: true })

const picture = (page, name) => page.screenshot({ path: path.join(PICTURES, name), fullPage: true })

test('log in, both sides of it, a failure at 100 % with its action, reset', async t => {
  const page = await open(t)
  await page.getByText('Nobody has logged in yet').waitFor()
  await button(page, 'Log in').click()
  const alice = page.locator('#users > li', { hasText: 'alice' })
  await alice.getByText('Living sessions: 1').waitFor()
  assert.match(await alice.textContent(), /openid\s*o[\w-]{27}\s*unionid\s*o[\w-]{27}/)
  assert.match(await page.locator('#result').textContent(), /^HTTP 200\n[^]*"token": "wxs_/)
  const login = page.locator('#requests > li').first()
  assert.match(await login.locator('.phone').textContent(), /GET \/onLogin user-alice\.\w+\s*200 ok \d+ ms/)
  assert.match(await login.locator('.wechat').textContent(), /GET \/sns\/jscode2session user-alice\.\w+\s*ok \d+ ms/)

  await button(page, 'Log in again').click()
  await alice.getByText('Living sessions: 2').waitFor()
  assert.match(await alice.locator('.sessions').textContent(), /session_key 2 \(newest\).*session_key 1$/)

  await page.getByLabel('errcode').fill('45011')
  await page.getByLabel('probability').selectOption('1')
  await button(page, 'Switch on').click()
  await page.locator('#switch', { hasText: 'errcode 45011, 100 %' }).waitFor()
  await page.getByLabel('Name').fill('bob')
  await button(page, 'Log in').click()
  const refused = page.locator('#requests > li', { hasText: 'user-bob' })
  await refused.getByText('429 rate_limited').waitFor()
  assert.match(await refused.locator('.phone').textContent(), /errcode 45011 action retry_later \d+ ms/)
  assert.match(await refused.locator('.wechat').textContent(), /errcode 45011/)
  await button(page, 'Switch off').click()
  await page.locator('#switch').waitFor({ state: 'detached' })

  await button(page, 'error-40029').click()
  await page.getByText('400 invalid_code').waitFor()
  await button(page, 'Log in').click()
  await page.locator('#users > li', { hasText: 'bob' }).getByText('Living sessions: 1').waitFor()
  await button(page, 'Log in again').nth(1).click() // alice, to have both sides of a phone number below
  await button(page, 'Phone number').first().click()
  await page.getByText('POST /cgi-bin/stable_token').waitFor()
  await button(page, 'hang').click()
  await page.getByText('waiting …').first().waitFor()
  await page.getByText('504 upstream_timeout').waitFor()
  await page.getByText('hung up').waitFor()
  await picture(page, 'sandbox.png')

  await button(page, 'Reset everything').click()
  await page.getByText('Nobody has logged in yet').waitFor()
  await page.getByText('None yet.').waitFor()
})

test('it fills itself while one watches', async t => {
  const page = await open(t)
  const answer = await fetch(`${PAGE}sandbox/logins`, {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"script":"guest-carol"}'
  })
  assert.equal(answer.status, 200)
  await page.locator('#users > li', { hasText: 'carol' }).getByText('none').waitFor()
})

test('codes to take away, as text and as curl', async t => {
  const page = await open(t)
  await button(page, 'Fresh code').click()
  const result = page.locator('#result')
  await result.getByText('/onLogin?code=').waitFor()
  const [, code] = /^HTTP 200\n(user-alice\.\w+)\n\ncurl '/.exec(await result.textContent())
  await button(page, 'Fresh code').click()
  await page.waitForFunction(code => {
    const text = document.getElementById('result').textContent
    return text.includes('curl') && !text.includes(code)
  }, code)
  await page.getByLabel('Make it fail').selectOption('phone_numbers')
  await button(page, 'error-40029').click()
  await result.getByText('"code": "invalid_phone_code"').waitFor()
  await page.getByLabel('Make it fail').selectOption('codes')
  await button(page, 'hang').click()
  await result.getByText('code=hang.').waitFor()
})

test('a code with markup in it stays text', async t => {
  const page = await open(t)
  const base = await page.locator('.addresses code').first().textContent()
  await fetch(`${base}/onLogin?code=${encodeURIComponent('user-<img src=x>')}`)
  await page.locator('.argument', { hasText: 'user-<img src=x>' }).waitFor()
  assert.equal(await page.locator('img').count(), 0)
})

test('in Chinese, in a narrow window and in the dark', async t => {
  const page = await open(t, { viewport: NARROW, locale: 'zh-CN' })
  await page.getByRole('heading', { name: 'wxlogin 沙箱' }).waitFor()
  await button(page, '登录').click()
  await page.getByText('有效会话：1').first().waitFor()
  await button(page, '手机号').first().click()
  await page.getByText('POST /cgi-bin/stable_token').or(page.getByText('getuserphonenumber')).first().waitFor()
  const width = await page.evaluate(() => document.documentElement.scrollWidth)
  assert.ok(width <= NARROW.width, `${width} wide`)
  await picture(page, 'sandbox-narrow.png')
  const dark = await open(t, { colorScheme: 'dark' })
  await picture(dark, 'sandbox-dark.png')
  await page.getByRole('link', { name: 'English' }).click()
  await page.getByRole('heading', { name: 'wxlogin sandbox' }).waitFor()
})

test('the page says when the sandbox has ended', async t => {
  const page = await open(t)
  await page.route('**/live*', route => route.abort())
  await page.getByText('The sandbox does not answer.').waitFor()
  await page.unroute('**/live*')
  await page.getByText('The sandbox does not answer.').waitFor({ state: 'hidden' })
})
