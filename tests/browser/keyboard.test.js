// The sandbox's page by keyboard alone, as a developer uses it beside DevTools.

const assert = require('node:assert/strict')

const { button, call, logInAtDevTools, open, session, test, useBrowser } = require('./browser.js')

useBrowser()

/** Presses Tab until this has the focus; and so it can be reached. */
async function tabTo(page, locator) {
  for (let presses = 0; presses < 200; presses += 1) {
    if (await locator.evaluate(element => element === document.activeElement)) return
    await page.keyboard.press('Tab')
  }
  assert.fail(`${locator} is not reached`)
}

async function press(page, locator, key = 'Enter') {
  await tabTo(page, locator)
  await page.keyboard.press(key)
}

test('a time-out, a second user, a session that expires, an openid to copy, a request to open', async t => {
  const page = await open(t)
  const rules = page.locator('#rules')
  await press(page, button(page, 'hang'), 'Space')
  await rules.getByText('Login: hang (the next one)').waitFor()
  assert.equal((await logInAtDevTools(page)).code, 'upstream_timeout')
  const first = await logInAtDevTools(page)
  await rules.getByText('DevTools and phones are the user devtools').waitFor()

  await press(page, button(page, 'user-bob'))
  await rules.getByText('user-bob').waitFor()
  const second = await logInAtDevTools(page)
  assert.notEqual(second.openid, first.openid)
  const bob = page.locator('#users > li', { hasText: 'bob' })
  await bob.getByText('Sessions: 1').waitFor()

  await press(page, bob.getByRole('button', { name: 'Let it expire' }))
  await bob.getByText('Sessions: 0').waitFor()
  assert.equal(await session(page, second.token), 401)
  // The focus is still at this user.
  const near = await page.evaluate(() => document.activeElement.closest('li').textContent)
  assert.match(near, /bob/)

  await logInAtDevTools(page)
  await bob.waitFor()
  await tabTo(page, bob.getByRole('button', { name: 'Copy openid' }))
  for (let login = 0; login < 5; login += 1) {
    await call('POST', 'sandbox/logins', { script: `user-further-${login}` })
    await page.locator('#users').getByText(`further-${login}`).first().waitFor()
  }
  await page.keyboard.press('Enter') // the focus has stayed
  await page.getByText('Copied: Copy openid').waitFor()
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), second.openid)

  const refused = page.locator('#requests > li', { hasText: '504 upstream_timeout' })
  const opens = refused.getByRole('button', { name: /GET \/onLogin/ })
  await press(page, opens)
  await refused.locator('.detail').getByText('upstream_timeout').first().waitFor()
  assert.equal(await opens.getAttribute('aria-expanded'), 'true')
})

test('a selection stays while requests arrive', async t => {
  const page = await open(t)
  await button(page, 'Log in').click()
  const alice = page.locator('#users > li', { hasText: 'alice' })
  await alice.waitFor()
  const openid = await alice.locator('code').first().evaluate(element => {
    getSelection().selectAllChildren(element)
    return element.textContent
  })
  await call('POST', 'sandbox/logins', { script: 'user-alice' })
  await alice.getByText('Sessions: 2').waitFor()
  await call('POST', 'sandbox/logins', { script: 'user-bob' })
  await page.locator('#users > li', { hasText: 'bob' }).waitFor()
  assert.equal(await page.evaluate(() => String(getSelection())), openid)
})

test('one session ends, and its user stays', async t => {
  const page = await open(t)
  const first = await logInAtDevTools(page)
  const second = await logInAtDevTools(page)
  const user = page.locator('#users > li')
  await user.getByText('Sessions: 2').waitFor()
  await press(page, user.locator('.sessions > li').last().getByRole('button', { name: 'End', exact: true }))
  await user.getByText('Sessions: 1').waitFor()
  assert.deepEqual([await session(page, first.token), await session(page, second.token)], [401, 200])
})
