/** A duration as `0:12`, `12:05` or `1:02:03`. */
export function clockTime(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const two = (value: number) => String(value).padStart(2, '0');
  const minutes = Math.floor(seconds / 60);
  return minutes < 60
    ? `${minutes}:${two(seconds % 60)}`
    : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(seconds % 60)}`;
}

/** Bytes per second as kB/s with one digit. */
export const kiloBytes = (bytesPerSecond: number) => (bytesPerSecond / 1000).toFixed(1);

/** The beginning of a hash, as people compare it. */
export const shortHash = (hash: string) => hash.slice(0, 8);

/** A point in time as the machine's locale writes it, to the second. */
export function dateTime(iso: string, locale: string): string {
  return new Intl.DateTimeFormat(locale === 'pseudo' ? 'en' : locale, {
    dateStyle: 'medium',
    timeStyle: 'medium',
  }).format(new Date(iso));
}

/** A day as `YYYY-MM-DD`, UTC, `back` days before today. */
export function day(back = 0): string {
  return new Date(Date.now() - back * 86_400_000).toISOString().slice(0, 10);
}
