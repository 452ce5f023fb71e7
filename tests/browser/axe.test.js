// axe-core finds nothing serious on the sandbox's page: in both languages, light and dark, wide and narrow.

const assert = require('node:assert/strict')

const { source } = require('axe-core')

const { NARROW, WIDE, button, call, open, picture, test, useBrowser } = require('./browser.js')

useBrowser()

const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']

/** With everything on it that the page can show. */
async function filled(page, logIn) {
  await call('PUT', 'sandbox/next', { call: 'all', script: 'error-45009', times: 1 })
  await call('POST', 'sandbox/logins', { script: 'user-dora' })
  await call('PUT', 'sandbox/next', { script: 'guest-张三', times: null })
  await call('POST', 'sandbox/clock', { forward: 5 })
  await call('POST', 'sandbox/phone_numbers', { name: 'alice' })
  await page.locator('#quota-pause').waitFor()
  await page.locator('#quota-pause button').click()
  await page.locator('#quota-pause').waitFor({ state: 'detached' })
  await button(page, logIn).click()
  await page.locator('#users > li').waitFor()
  await page.locator('#requests button.open').first().click()
  await page.locator('.detail h3').first().waitFor()
  for (const summary of await page.locator('summary').all()) await summary.click()
}

for (const [lang, logIn] of [['en', 'Log in'], ['zh-CN', '登录']]) {
  for (const colorScheme of ['light', 'dark']) {
    for (const viewport of [WIDE, NARROW]) {
      const name = `${lang}-${colorScheme}-${viewport.width}`
      test(name, async t => {
        const page = await open(t, { colorScheme, viewport }, `?lang=${lang}`)
        await filled(page, logIn)
        await page.evaluate(() => window.scrollTo(0, 0))
        await picture(page, `sandbox-${name}.png`)
        await page.evaluate(source)
        const { violations } = await page.evaluate(tags => globalThis.axe.run({ runOnly: tags }), TAGS)
        const found = violations.map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.map(node => node.html) }))
        assert.deepEqual(found, [])
      })
    }
  }
}
