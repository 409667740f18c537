import { ref } from 'vue';

const KEY = 'dfu-station.theme';

/** The colour schemes. */
export const themes = ['dark', 'bright', 'contrast'] as const;
export type Theme = (typeof themes)[number];

const kept = themes.find((theme) => theme === localStorage.getItem(KEY));
const preferred: Theme = matchMedia('(prefers-contrast: more)').matches
  ? 'contrast'
  : matchMedia('(prefers-color-scheme: light)').matches
    ? 'bright'
    : 'dark';

/** The scheme in use. */
export const theme = ref<Theme>(kept ?? preferred);
document.documentElement.dataset.theme = theme.value;

/** Changes the scheme and remembers it. */
export function setTheme(value: Theme): void {
  theme.value = value;
  localStorage.setItem(KEY, value);
  document.documentElement.dataset.theme = value;
}

/** A colour of the scheme in use, for what is drawn on a canvas. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
