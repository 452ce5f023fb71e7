import { createSSRApp } from 'vue'
import App from './App.vue'
import './scenario.js'

export function createApp() {
  return { app: createSSRApp(App) }
}
