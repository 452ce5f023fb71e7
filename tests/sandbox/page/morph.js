'use strict'

/** Makes `from` like `to`, and keeps what is the same in both, so that focus and selection stay. */
function morph(from, to) {
  for (const { name } of [...from.attributes]) if (!to.hasAttribute(name) && name !== 'open') from.removeAttribute(name)
  for (const { name, value } of to.attributes) if (from.getAttribute(name) !== value) from.setAttribute(name, value)
  if (from.hasAttribute('data-keep')) return // the script fills it
  const wanted = new Set([...to.children].map(child => child.id))
  for (const child of [...from.children]) if (child.id && !wanted.has(child.id)) child.remove()
  const byId = new Map([...from.children].filter(child => child.id).map(child => [child.id, child]))
  let at = from.firstChild
  for (const child of [...to.childNodes]) {
    const isSame = at && !at.id && !child.id && at.nodeName === child.nodeName
    const same = child.id ? byId.get(child.id) : isSame ? at : null
    if (!same) {
      from.insertBefore(child, at)
      continue
    }
    if (same === at) at = at.nextSibling
    else from.insertBefore(same, at)
    if (same.nodeType === Node.ELEMENT_NODE) morph(same, child)
    else if (same.data !== child.data) same.data = child.data
  }
  while (at) {
    const next = at.nextSibling
    at.remove()
    at = next
  }
}
