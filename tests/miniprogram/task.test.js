// The Mini Program's client as a task: uploads, downloads, streams, and what is aborted.

const assert = require('node:assert/strict')
const { EventEmitter, once } = require('node:events')
const http = require('node:http')

const { LOGIN, Phone, create, direct, serve, test, useSandbox } = require('./harness')

useSandbox()

const kill = token => direct('DELETE', '/session', token)
const whoIs = async ({ headers: { authorization = '' } }) =>
  (await direct('GET', '/session', authorization.slice('Bearer '.length))).statusCode

test('an upload has the token, and is repeated once after a 401', async t => {
  const phone = new Phone('user-kate.up-1', 'user-kate.up-2', 'user-kate.never')
  phone.files.set('wxfile://avatar.png', 'a picture')
  const bodies = []
  const backend = await serve(t, async request => {
    let body = ''
    for await (const chunk of request.setEncoding('utf8')) body += chunk
    bodies.push(body)
    return [await whoIs(request), '{"url":"/a.png"}']
  })
  const login = create()
  const upload = () => {
    const task = login.uploadFile({
      url: `${backend}/avatar`, filePath: 'wxfile://avatar.png', name: 'file', formData: { size: 7 }
    })
    task.onProgressUpdate(({ progress }) => phone.events.push(`${progress} %`))
    return task
  }
  const { statusCode, data } = await upload()
  assert.deepEqual([statusCode, data], [200, '{"url":"/a.png"}'])
  await kill(await login.token())
  assert.equal((await upload()).statusCode, 200)
  assert.equal(bodies.length, 3)
  for (const body of bodies) assert.match(body, /name="size"\r\n\r\n7\r\n[^]*name="file"[^]*a picture/)
  const SENT = ['POST /avatar', '100 %']
  // The progress of the attempt that was refused is not told.
  assert.deepEqual(phone.events, [...LOGIN, ...SENT, 'POST /avatar', 'GET /session', ...LOGIN, ...SENT])
  const missing = login.uploadFile({ url: `${backend}/avatar`, filePath: 'none', name: 'file' })
  await assert.rejects(missing, { code: 'wx_uploadFile_failed', action: 'fix_request', server: 'yours' })
})

test('a download has the token, and is repeated once after a 401', async t => {
  const phone = new Phone('user-kate.down-1', 'user-kate.down-2', 'user-kate.never')
  const backend = await serve(t, async request => {
    const status = await whoIs(request)
    return [status, status === 200 ? 'an invoice' : 'refused']
  })
  const login = create()
  await kill(await login.token())
  const { statusCode, tempFilePath } = await login.downloadFile({ url: `${backend}/invoice` })
  assert.deepEqual([statusCode, phone.files.get(tempFilePath)], [200, 'an invoice'])
  assert.equal((await login.downloadFile({ url: `${backend}/invoice`, filePath: 'mine' })).filePath, 'mine')
  assert.equal(phone.count('wx.login'), 2)
})

/** A server that streams two chunks to whoever is logged in, and a refusal to others. */
async function streaming(t, refusal = 401) {
  const server = http.createServer(async (request, response) => {
    const status = await whoIs(request)
    response.writeHead(status === 200 ? 200 : refusal, { 'X-Stream': 'yes' })
    if (status !== 200) return response.end('refused')
    response.write('one ')
    await once(server.moments, 'next')
    response.end('two')
  })
  server.moments = new EventEmitter()
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.after(() => server.close())
  return [`http://127.0.0.1:${server.address().port}/stream`, server.moments]
}

const text = ({ data }) => Buffer.from(data).toString()

test('a stream comes in chunks, to listeners that were set while a login ran', async t => {
  const phone = new Phone('user-kate.stream-1', 'user-kate.stream-2')
  const [url, moments] = await streaming(t)
  const login = create()
  await kill(await login.token())
  const seen = []
  const stream = login.request({ url, enableChunked: true })
  const removed = () => assert.fail('it was removed')
  let length = 0
  stream.onChunkReceived(({ data }) => { length += data.byteLength })
  stream.onChunkReceived(removed)
  stream.onHeadersReceived(({ statusCode }) => seen.push(statusCode))
  stream.onChunkReceived(chunk => {
    seen.push(text(chunk))
    moments.emit('next')
  })
  stream.offChunkReceived(removed)
  const { statusCode, data } = await stream
  // Neither headers nor chunks of the attempt that was refused are told.
  assert.deepEqual([statusCode, data, seen, length], [200, '', [200, 'one ', 'two'], 7])
  assert.deepEqual(phone.events, [...LOGIN, 'GET /stream', 'GET /session', ...LOGIN, 'GET /stream'])
})

test('a 401 that is not repeated tells its headers and chunks, before the promise', async t => {
  new Phone('user-kate.refused')
  const backend = await serve(t, () => [401, 'closed today'])
  const login = create()
  const seen = []
  const stream = login.request({ url: `${backend}/`, enableChunked: true })
  stream.onHeadersReceived(({ statusCode }) => seen.push(statusCode))
  stream.onChunkReceived(chunk => seen.push(text(chunk)))
  seen.push((await stream).statusCode)
  assert.deepEqual(seen, [401, 'closed today', 401])
})

test('a request that is no stream sets no listener for chunks: on some phones it would take that of a stream', async () => {
  const phone = new Phone('user-kate.no-stream')
  const { request } = Phone.prototype
  phone.request = options => Object.assign(request.call(phone, options), { onChunkReceived: assert.fail })
  assert.equal((await create().request({ url: '/session' })).statusCode, 200)
})

test('listeners may be removed all at once, and set while the answer comes', async t => {
  new Phone('user-kate.listeners')
  const [url, moments] = await streaming(t)
  const seen = []
  const stream = create().request({ url, enableChunked: true })
  stream.onHeadersReceived(() => seen.push('first'))
  stream.offHeadersReceived()
  stream.onHeadersReceived(() => {
    stream.onChunkReceived(chunk => seen.push(text(chunk)))
    setImmediate(() => moments.emit('next'))
  })
  await stream
  assert.deepEqual(seen, ['one ', 'two'])
})

test('abort rejects at once, wherever the request is', async t => {
  const aborted = { name: 'LoginError', code: 'aborted', action: 'give_up' }
  const moments = new EventEmitter()
  const backend = await serve(t, async () => {
    moments.emit('asked')
    await once(moments, 'never')
  })

  // While it waits for a login, which goes on for others.
  const phone = new Phone('user-kate.abort')
  const login = create()
  const early = login.request({ url: `${backend}/` })
  const token = login.token()
  early.abort()
  await assert.rejects(early, aborted)
  await token
  assert.deepEqual(phone.events, LOGIN)

  for (const start of [
    () => login.request({ url: `${backend}/` }), () => login.downloadFile({ url: `${backend}/` }),
    () => login.uploadFile({ url: `${backend}/`, filePath: 'file', name: 'file' })
  ]) {
    phone.files.set('file', 'content')
    const asked = once(moments, 'asked')
    const task = start()
    await asked
    assert.equal(phone.running.size, 1)
    task.abort()
    assert.equal(phone.running.size, 0) // wx's own task is aborted too
    await assert.rejects(task, aborted)
  }

  const over = login.request({ url: '/session' })
  assert.equal((await over).statusCode, 200)
  over.abort() // changes nothing
  assert.equal((await over).statusCode, 200)
})

test('an abort while a 401 is asked about sends nothing more', async t => {
  const phone = new Phone('user-kate.check', 'user-kate.never')
  const backend = await serve(t, () => [401])
  const login = create()
  await kill(await login.token())
  const { request } = Phone.prototype
  phone.request = function (options) {
    if (options.url.endsWith('/session')) task.abort()
    return request.call(this, options)
  }
  const task = login.request({ url: `${backend}/` })
  await assert.rejects(task, { code: 'aborted' })
  assert.equal(phone.count('GET /'), 1)
})
