// What a Mini Program does all day, with the client from npm. The test puts it into each project.

import { create, LoginError } from 'wxlogin-miniprogram'

const text = bytes => String.fromCharCode(...new Uint8Array(bytes))

wx.onScenario(async (base, backend) => {
  const login = create({ base })
  const { openid } = await login.user()
  const me = await login.request({ url: '/session' })

  await login.request({ url: '/session', method: 'DELETE' }) // a dead token: the upload logs in again
  const upload = login.uploadFile({ url: `${backend}/avatar`, filePath: 'wxfile://avatar.png', name: 'file' })
  let progress
  upload.onProgressUpdate(event => { progress = event.progress })
  const uploaded = await upload

  const { tempFilePath } = await login.downloadFile({ url: `${backend}/invoice` })

  const chunks = []
  const stream = login.request({ url: `${backend}/stream`, enableChunked: true })
  stream.onChunkReceived(({ data }) => chunks.push(text(data)))
  await stream

  const opening = login.connectSocket({ url: backend.replace('http', 'ws') })
  const echoed = new Promise(resolve => opening.onMessage(({ data }) => resolve(data)))
  const socket = await opening
  socket.send({ data: 'hello' })
  const message = await echoed
  socket.close({})

  const slow = login.request({ url: `${backend}/slow` })
  setTimeout(() => slow.abort(), 50)
  const aborted = await slow.catch(error => error)

  const waiting = login.renew().catch(error => error)
  await login.logOut()
  const loggedOut = await waiting
  return {
    isMe: me.data.openid === openid,
    uploaded: uploaded.statusCode,
    progress,
    tempFilePath,
    stream: chunks.join(''),
    message,
    aborted: aborted instanceof LoginError && aborted.code,
    loggedOut: loggedOut instanceof LoginError && loggedOut.code
  }
})
