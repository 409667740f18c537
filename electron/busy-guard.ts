import type { App, Dialog, PowerSaveBlocker } from 'electron';

/** What the guard asks before it lets the program end. */
export interface Busy {
  /** Whether units are being upgraded. */
  readonly busy: boolean;
  /** Calls back whenever `busy` may have changed. Returns how to stop that. */
  onChange(handler: () => void): () => void;
}

/** While units run the machine does not sleep. Returns how to stop watching. */
export function keepAwake(blocker: Pick<PowerSaveBlocker, 'start' | 'stop'>, station: Busy): () => void {
  let id: number | null = null;
  const follow = () => {
    if (station.busy && id === null) id = blocker.start('prevent-app-suspension');
    if (!station.busy && id !== null) {
      blocker.stop(id);
      id = null;
    }
  };
  follow();
  const stop = station.onChange(follow);
  return () => {
    stop();
    if (id !== null) blocker.stop(id);
    id = null;
  };
}

/** While units run the program does not quit: it says why instead. */
export function blockQuit(
  app: Pick<App, 'on'>,
  dialog: Pick<Dialog, 'showMessageBox'>,
  station: Busy,
  text: () => QuitText,
): void {
  app.on('before-quit', (event) => {
    if (!station.busy) return;
    event.preventDefault();
    const { title, message } = text();
    void dialog.showMessageBox({ type: 'warning', title, message, buttons: ['OK'] });
  });
}

/** What is said when the program will not quit. */
export interface QuitText {
  readonly title: string;
  readonly message: string;
}
