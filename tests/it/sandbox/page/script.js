'use strict'

const byId = id => document.getElementById(id)
const result = byId('result')
let shown = ''

/** Sends what a button stands for, and shows what comes back. */
async function send(method, path, body) {
  const options = { method }
  if (body) {
    options.headers = { 'Content-Type': 'application/json' }
    options.body = body
  }
  result.textContent = '…'
  try {
    const answer = await fetch(path, options)
    const text = await answer.text()
    result.textContent = `HTTP ${answer.status}\n${pretty(text)}`
  } catch (error) {
    result.textContent = String(error)
  }
  await refresh()
}

/** A code and its curl line as they are, so that they can be copied; other JSON with line breaks. */
function pretty(text) {
  try {
    const json = JSON.parse(text)
    return json.curl ? `${json.code}\n\n${json.curl}` : JSON.stringify(json, null, 1)
  } catch (error) {
    return text
  }
}

function filledIn(template) {
  return template.replace(/{(name|errcode|probability)}/g, (all, id) => byId(id).value.trim())
}

document.addEventListener('click', event => {
  const button = event.target.closest('button')
  if (!button) return
  if (!byId('name').reportValidity()) return
  const { request, body, script } = button.dataset
  if (script) {
    const as = byId('as').value
    const name = as === 'phone_numbers' ? { name: byId('name').value } : {}
    send('POST', `/sandbox/${as}`, JSON.stringify({ ...name, script }))
  } else {
    send(...request.split(' '), filledIn(body))
  }
})

/** What has changed: users, requests, the switch. */
async function refresh() {
  let text
  try {
    const answer = await fetch(`/live?lang=${document.documentElement.lang}`)
    if (!answer.ok) throw new Error(answer.status)
    text = await answer.text()
  } catch (error) {
    byId('ended').hidden = false
    return
  }
  byId('ended').hidden = true
  if (text === shown) return
  shown = text
  byId('live').innerHTML = text
  localTimes()
}

/** The server writes times in UTC. */
function localTimes() {
  for (const time of document.querySelectorAll('time')) {
    time.textContent = new Date(time.dateTime).toLocaleTimeString([], { hour12: false })
  }
}

localTimes()
setInterval(() => { if (!document.hidden) refresh() }, 1000)
document.addEventListener('visibilitychange', () => { if (!document.hidden) refresh() })
