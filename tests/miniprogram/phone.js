// A phone: what `wx` does there as WeChat documents it, with real HTTP and WebSocket connections, and a list of
// what it was asked for. Methods can be replaced by ones that fail.

const http = require('node:http')
const WebSocket = require('ws')

const MAX_AT_ONCE = 10 // requests, uploads and downloads; further ones wait

class Phone {
  /** With codes for wx.login, in turn; an Error is a wx.login that fails. */
  constructor(...codes) {
    this.codes = codes
    this.storage = new Map()
    this.files = new Map() // contents by path
    this.events = []
    this.urls = []
    this.timeouts = []
    this.sent = [] // options of what was sent
    this.envVersion = 'release'
    this.offline = 0 // how many of the next requests do not get through
    this.isNaN = false // as on a Mac: request:ok with a statusCode that is none
    this.running = new Set()
    this.waiting = []
    globalThis.wx = this
  }

  login({ timeout, success, fail }) {
    this.events.push('wx.login')
    this.timeouts.push(timeout)
    if (this.codes.length === 0) throw new Error('wx.login was called too often')
    const code = this.codes.shift()
    setImmediate(() => {
      if (code instanceof Error) fail({ errMsg: code.message })
      else success({ errMsg: 'login:ok', code })
    })
  }

  getAccountInfoSync() {
    return { miniProgram: { envVersion: this.envVersion } }
  }

  request(options) {
    const { method = 'GET', data, header, responseType, enableChunked } = options
    const url = this.ask('request', method, options)
    const inQuery = method === 'GET' && data !== undefined
    if (url && inQuery) Object.entries(data).forEach(([name, value]) => url.searchParams.append(name, value))
    const body = data === undefined || inQuery ? '' : typeof data === 'string' ? data : JSON.stringify(data)
    return this.run('request', options, url, { method, header, body }, async (answer, task) => {
      const chunks = []
      for await (const chunk of answer) {
        if (enableChunked) task.emit('ChunkReceived', { data: Uint8Array.from(chunk).buffer })
        else chunks.push(chunk)
      }
      const bytes = Buffer.concat(chunks)
      const body = responseType === 'arraybuffer' ? Uint8Array.from(bytes).buffer : parsed(bytes.toString())
      return { data: body, header: oddly(answer.headers), cookies: [] }
    })
  }

  uploadFile(options) {
    const { filePath, name, formData = {}, header } = options
    const url = this.ask('uploadFile', 'POST', options)
    const content = this.files.get(filePath)
    const boundary = 'a-boundary'
    const part = (disposition, value) => [`--${boundary}\r\nContent-Disposition: form-data; ${disposition}\r\n\r\n`, value, '\r\n']
    const parts = Object.entries(formData).flatMap(([key, value]) => part(`name="${key}"`, String(value)))
    parts.push(...part(`name="${name}"; filename="${filePath}"`, content || ''), `--${boundary}--\r\n`)
    const body = Buffer.concat(parts.map(piece => Buffer.from(piece)))
    const type = { ...header, 'content-type': `multipart/form-data; boundary=${boundary}` }
    const problem = content ? undefined : { errMsg: 'uploadFile:fail file not found' }
    return this.run('uploadFile', options, url, { method: 'POST', header: type, body }, async (answer, task) => {
      const total = body.length
      task.emit('ProgressUpdate', { progress: 100, totalBytesSent: total, totalBytesExpectedToSend: total })
      return { data: await textOf(answer) } // a string, and no header
    }, problem)
  }

  downloadFile(options) {
    const { filePath, header } = options
    const url = this.ask('downloadFile', 'GET', options)
    return this.run('downloadFile', options, url, { method: 'GET', header, body: '' }, async (answer, task) => {
      const content = await textOf(answer)
      const total = content.length
      task.emit('ProgressUpdate', { progress: 100, totalBytesWritten: total, totalBytesExpectedToWrite: total })
      const path = filePath || `wxfile://tmp_${this.files.size}`
      this.files.set(path, content) // whatever the status is
      return filePath ? { filePath } : { tempFilePath: path }
    })
  }

  connectSocket(options) {
    const { url, header, protocols = [], success = () => {}, fail = () => {}, complete = () => {} } = options
    this.events.push(`CONNECT ${new URL(url).pathname}`)
    this.sent.push(options)
    const socket = new WebSocket(url, protocols, { headers: header })
    const task = new Task(['Open', 'Message', 'Error', 'Close'])
    const { emit } = task
    socket.on('open', () => emit('Open', { header: {}, profile: {} }))
    socket.on('message', (data, isBinary) => emit('Message', { data: isBinary ? data : String(data) }))
    socket.on('error', ({ message }) => emit('Error', { errMsg: `connectSocket:fail ${message}` }))
    socket.on('close', (code, reason) => emit('Close', { code, reason: String(reason) }))
    task.send = ({ data, success = () => {}, fail = () => {} }) => {
      if (socket.readyState !== WebSocket.OPEN) return fail({ errMsg: 'sendSocketMessage:fail' })
      socket.send(data)
      success({ errMsg: 'sendSocketMessage:ok' })
    }
    task.close = ({ code, reason }) => socket.close(code, reason)
    setImmediate(() => { // "called", which does not mean open
      success({ errMsg: 'connectSocket:ok', socketTaskId: 1 })
      complete({ errMsg: 'connectSocket:ok' })
    })
    return task
  }

  /** Notes what is asked for. Its URL, if it is one. */
  ask(name, method, options) {
    this.sent.push(options)
    this.timeouts.push(options.timeout)
    if (!/^https?:/.test(options.url)) return undefined
    const url = new URL(options.url)
    this.events.push(`${method} ${url.pathname}`)
    this.urls.push(url)
    return url
  }

  run(name, options, url, { method, header, body }, read, problem) {
    const { success = () => {}, fail = () => {}, complete = () => {} } = options
    const task = new Task(['HeadersReceived', 'ChunkReceived', 'ProgressUpdate'])
    let request
    let isOver = false
    const end = (callback, result) => {
      if (isOver) return
      isOver = true
      this.running.delete(task)
      callback(result)
      complete(result)
      this.next()
    }
    const failed = (cause, errno) => end(fail, { errMsg: `${name}:fail ${cause}`, ...errno && { errno } })
    task.abort = () => {
      if (request) request.destroy()
      failed('abort')
    }
    if (!url) problem = { errMsg: `${name}:fail invalid url "${options.url}"`, errno: 600009 }
    if (this.offline > 0) {
      this.offline -= 1
      problem = { errMsg: `${name}:fail net::ERR_INTERNET_DISCONNECTED ${url}` }
    }
    const start = () => {
      if (isOver) return this.next()
      this.running.add(task)
      const headers = { 'content-type': 'application/json', ...header }
      request = http.request(url, { method, headers, agent: false }, async answer => {
        const { statusCode } = answer
        task.emit('HeadersReceived', { statusCode, header: oddly(answer.headers), cookies: [] })
        try {
          const result = await read(answer, task)
          end(success, { errMsg: `${name}:ok`, statusCode: this.isNaN ? NaN : statusCode, ...result })
        } catch (error) {
          failed(error.code)
        }
      })
      request.on('error', error => failed(`${error.code} ${url}`))
      request.end(body)
    }
    if (problem) setImmediate(end, fail, problem)
    else if (this.running.size < MAX_AT_ONCE) start()
    else this.waiting.push(start)
    return task
  }

  next() {
    const start = this.waiting.shift()
    if (start) start()
  }

  getStorageSync(key) {
    return this.storage.has(key) ? this.storage.get(key) : ''
  }

  setStorageSync(key, value) {
    this.storage.set(key, JSON.parse(JSON.stringify(value)))
  }

  removeStorageSync(key) {
    this.storage.delete(key)
  }

  count(event) {
    return this.events.filter(other => other === event).length
  }
}

/** As some phones do, it takes one listener for each event. */
class Task {
  constructor(events) {
    const listeners = {}
    for (const event of events) {
      this[`on${event}`] = listener => { listeners[event] = listener }
      this[`off${event}`] = () => { delete listeners[event] }
    }
    this.emit = (event, value) => listeners[event] && listeners[event](value)
  }
}

async function textOf(answer) {
  let text = ''
  for await (const chunk of answer.setEncoding('utf8')) text += chunk
  return text
}

/** Header names as no phone writes them: rEtRy-aFtEr. */
function oddly(headers) {
  const odd = name => name.replace(/./g, (letter, at) => at % 2 ? letter.toUpperCase() : letter)
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [odd(name), value]))
}

/** As wx.request does by default: JSON if it is, else text. */
function parsed(text) {
  try {
    return JSON.parse(text)
  } catch (error) {
    return text
  }
}

module.exports = { Phone, parsed }
