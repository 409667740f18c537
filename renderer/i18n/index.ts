import { createI18n } from 'vue-i18n';
import { sentences } from '../../src/contract/errors.ts';
import { findings } from '../../src/contract/findings.ts';
import { findingsZhCn, sentencesZhCn } from '../../src/contract/sentences-zh-cn.ts';
import { en } from './en.ts';
import { pseudo } from './pseudo.ts';
import { zhCn } from './zh-cn.ts';

const LANGUAGE_KEY = 'dfu-station.language';

/** The languages that a person can choose. The pseudo-language is for tests and is chosen by its name alone. */
export const languages = ['en', 'zh-CN'] as const;
export type Language = (typeof languages)[number] | 'pseudo';

const kept = localStorage.getItem(LANGUAGE_KEY);
const preferred: Language = navigator.language.startsWith('zh') ? 'zh-CN' : 'en';
const initial = kept === 'en' || kept === 'zh-CN' || kept === 'pseudo' ? kept : preferred;

// Sentences hold no placeholders, but letters that the message format would read as such.
const literal = (texts: Readonly<Record<string, string>>) =>
  Object.fromEntries(Object.entries(texts).map(([code, text]) => [code, text.replace(/[@{}|]/g, "{'$&'}")]));

/** Every text on screen. */
export const i18n = createI18n({
  legacy: false,
  locale: initial,
  fallbackLocale: 'en',
  messages: {
    en: { ...en, sentence: literal(sentences), finding: findings },
    'zh-CN': { ...zhCn, sentence: literal(sentencesZhCn), finding: findingsZhCn },
    pseudo: { ...pseudo(en), sentence: literal(pseudo(sentences)), finding: pseudo(findings) },
  },
});
showLanguage(initial);

/** Changes the language and remembers it. */
export function setLanguage(language: Language): void {
  i18n.global.locale.value = language;
  localStorage.setItem(LANGUAGE_KEY, language);
  showLanguage(language);
}

function showLanguage(language: Language): void {
  document.documentElement.lang = language === 'pseudo' ? 'en' : language;
  // A machine that is set up for English may have no Chinese letters.
  if (language === 'zh-CN') void import('@fontsource-variable/noto-sans-sc/index.css');
}
