import '@fontsource-variable/inter/index.css';
import '@fontsource-variable/jetbrains-mono/index.css';
import './design/tokens.css';
import './design/base.css';
import { createPinia } from 'pinia';
import { createApp } from 'vue';
import App from './app.vue';
import { i18n } from './i18n/index.ts';
import { createAppRouter } from './router.ts';
import { openPort } from './station/ports.ts';
import { useStation } from './station/station-store.ts';

// On a machine without a locale Chromium names its language in a way that Intl refuses, and with it whatever formats numbers.
if (!/^[A-Za-z0-9-]+$/.test(navigator.language)) Object.defineProperty(navigator, 'language', { value: 'en-US' });

const app = createApp(App);
const pinia = createPinia();
app.use(pinia).use(i18n);
const station = useStation(pinia);
// The token leaves the address before the router reads it.
station.connect(openPort());
app.use(createAppRouter(station)).mount('#app');
