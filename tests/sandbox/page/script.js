const byId = id => document.getElementById(id)
const lang = document.documentElement.lang
/** What an answer has that is worth a button that copies it. */
const COPIED = ['openid', 'token', 'code', 'curl', 'phoneNumber', 'signature', 'access_token']
let presses = 0
let shown = ''
let refreshes = 0
let shownRefresh = 0

/** Sends what a button stands for. Shows the answer, unless a later press has been made meanwhile. */
async function send(label, method, path, body) {
  const press = ++presses
  const options = { method }
  if (body) {
    options.headers = { 'Content-Type': 'application/json' }
    options.body = body
  }
  byId('pressed').textContent = `${press}. ${label} · ${clock(new Date())} · ${method} ${path}`
  show('…', {})
  let text
  let json = {}
  try {
    const answer = await fetch(path, options)
    const body = await answer.text()
    if (body) json = parsed(body)
    text = [`HTTP ${answer.status}`, pretty(body, json)].join('\n').trim()
  } catch (error) {
    text = String(error)
  }
  if (press === presses) show(text, json)
  await refresh()
}

function show(text, json) {
  const copies = byId('copies')
  byId('result').textContent = text
  const isPlain = name => typeof json[name] === 'string'
  copies.replaceChildren(...COPIED.filter(isPlain).map(name => {
    const button = document.createElement('button')
    button.type = 'button'
    button.dataset.copy = json[name]
    button.textContent = copies.dataset.label.replace('{}', name)
    return button
  }))
}

function parsed(text) {
  try {
    return JSON.parse(text)
  } catch (error) {
    return {}
  }
}

/** A code and its curl line as they are; other JSON with line breaks. */
function pretty(text, json) {
  if (json.curl) return `${json.code}\n\n${json.curl}`
  return Object.keys(json).length > 0 ? JSON.stringify(json, null, 1) : text
}

/** The body of a request with what is typed into the fields, as JSON strings. */
function filledIn(template) {
  return template.replace(/{(name)}/g, (all, id) => JSON.stringify(byId(id).value.trim()).slice(1, -1))
}

/** A script, for what is chosen: a rule, or a request at once. */
function useScript(script, isPressed) {
  const [times, call] = byId('as').value.split(':')
  if (times === 'now') {
    const [, kind, name] = /^(user|guest|phone)-(.+)$/.exec(script) || []
    const phone = kind ? { name } : { name: byId('name').value.trim() || 'alice', script }
    return send(script, 'POST', `/sandbox/${call}`, JSON.stringify(call === 'phone_numbers' ? phone : { script }))
  }
  if (isPressed) return send(script, 'DELETE', `/sandbox/next?call=${call}`)
  const rule = { call, script, times: times === 'once' ? 1 : null, probability: { half: 0.5, tenth: 0.1 }[times] || 1 }
  return send(script, 'PUT', '/sandbox/next', JSON.stringify(rule))
}

/** Which scripts are in force for what is chosen. */
function showPressed() {
  const call = byId('as').value.split(':')[1]
  const rule = JSON.parse(byId('rules').dataset.rules).find(rule => rule.call === call)
  for (const button of document.querySelectorAll('[data-script]')) {
    button.setAttribute('aria-pressed', String(Boolean(rule) && rule.script === button.dataset.script))
  }
}

/** Puts a text into the clipboard; by a selection where the browser has no clipboard for this address. */
async function copy(text, label) {
  if (navigator.clipboard) await navigator.clipboard.writeText(text)
  else {
    const focused = document.activeElement
    const field = document.body.appendChild(document.createElement('textarea'))
    field.value = text
    field.select()
    document.execCommand('copy')
    field.remove()
    focused.focus()
  }
  byId('copied').textContent = byId('copied').dataset.label.replace('{}', label)
}

/** Opens a request; closes it if it is open. `secrets`: opens it anew, with or without them. */
async function open(id, secrets) {
  const detail = byId(`detail-${id}`) || byId(`side-${id}`).closest('li').querySelector('.detail')
  const isOpen = (detail.dataset.opened || '').split(' ')[0] === id
  if (secrets) {
    await fill(detail, `${id} ${secrets}`)
    detail.querySelector('button').focus()
  } else if (!isOpen) await fill(detail, `${id} false`)
  else {
    delete detail.dataset.opened
    detail.replaceChildren()
  }
  showOpened()
}

async function fill(detail, opened) {
  const [id, secrets] = opened.split(' ')
  const { answered } = byId(`side-${id}`).querySelector('.open').dataset
  const answer = await fetch(`/live/requests/${id}?lang=${lang}&secrets=${secrets}`)
  Object.assign(detail.dataset, { opened, answered })
  detail.innerHTML = await answer.text()
  localTimes(detail)
}

function showOpened() {
  for (const button of document.querySelectorAll('button.open')) {
    const [id] = (button.closest('li').querySelector('.detail').dataset.opened || '').split(' ')
    button.setAttribute('aria-expanded', String(id === button.dataset.open))
  }
}

function applyFilter() {
  const text = byId('filter').value.trim().toLowerCase()
  for (const row of document.querySelectorAll('#requests > li')) {
    row.hidden = !row.textContent.toLowerCase().includes(text)
  }
}

document.addEventListener('click', async event => {
  const button = event.target.closest('button')
  if (!button) return
  const { request, body, script, scriptOf, copy: text, copyFrom, open: id, secrets } = button.dataset
  const label = button.getAttribute('aria-label') || button.textContent
  if (text !== undefined) await copy(text, label)
  else if (copyFrom) await copy((await (await fetch(copyFrom)).json()).token || '', label)
  else if (id) await open(id, secrets)
  else if (script) useScript(script, button.getAttribute('aria-pressed') === 'true')
  else if (scriptOf) byId(scriptOf).reportValidity() && useScript(byId(scriptOf).value.trim(), false)
  else if (!body.includes('{name}') || byId('name').reportValidity()) {
    const of = button.closest('[data-of]')
    send(of ? `${label} (${of.dataset.of})` : label, ...request.split(' '), filledIn(body))
  }
})
byId('filter').addEventListener('input', applyFilter)
byId('as').addEventListener('change', showPressed)

/** What has changed: rules, notices, users, requests. */
async function refresh() {
  const number = ++refreshes
  let text
  try {
    const answer = await fetch(`/live?lang=${lang}`)
    if (!answer.ok) throw new Error(answer.status)
    text = await answer.text()
  } catch (error) {
    byId('ended').hidden = false
    return
  }
  byId('ended').hidden = true
  if (number < shownRefresh) return // a newer one was faster
  shownRefresh = number
  if (text === shown) return
  shown = text
  const focused = document.activeElement
  const around = ancestors(focused)
  const fresh = document.createElement('template')
  fresh.innerHTML = text
  localTimes(fresh.content)
  for (const part of [...fresh.content.children]) morph(byId(part.id), part)
  showPressed()
  showOpened()
  applyFilter()
  if (!focused.isConnected) focusNear(around)
  // What was opened while it waited has its answer now.
  for (const detail of document.querySelectorAll('.detail[data-opened][data-answered=false]')) {
    const [id] = detail.dataset.opened.split(' ')
    if (byId(`side-${id}`).querySelector('.open').dataset.answered === 'true') fill(detail, detail.dataset.opened)
  }
}

function ancestors(element) {
  const all = []
  for (let at = element; at; at = at.parentElement) all.push(at)
  return all
}

/** The button with the focus is gone, as that of a session that has ended: its neighbour gets it. */
function focusNear(around) {
  const near = around.find(element => element.isConnected && element.querySelector('button'))
  if (near) near.querySelector('button').focus({ preventScroll: true })
}

/** The server writes times in UTC. */
function localTimes(inside) {
  for (const time of inside.querySelectorAll('time')) time.textContent = clock(new Date(time.dateTime))
}

function clock(time) {
  return time.toLocaleTimeString([], { hour12: false })
}

localTimes(document)
showPressed()
setInterval(() => { if (!document.hidden) refresh() }, 1000)
document.addEventListener('visibilitychange', () => { if (!document.hidden) refresh() })
