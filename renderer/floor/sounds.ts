import { ref } from 'vue';

const KEY = 'dfu-station.sound';

/** What can be heard; each has a visible twin on the screen. */
export type Cue = 'accepted' | 'refused' | 'passed' | 'failed';

/** Tones by frequency in hertz and length in seconds. */
const tones: Readonly<Record<Cue, readonly (readonly [number, number])[]>> = {
  accepted: [[1320, 0.08]],
  refused: [
    [220, 0.16],
    [180, 0.24],
  ],
  passed: [
    [660, 0.12],
    [880, 0.12],
    [1320, 0.25],
  ],
  failed: [
    [330, 0.3],
    [220, 0.45],
  ],
};

/** Whether sounds are on. */
export const soundOn = ref(localStorage.getItem(KEY) !== 'off');

/** Turns sounds on or off and remembers it. */
export function setSound(on: boolean): void {
  soundOn.value = on;
  localStorage.setItem(KEY, on ? 'on' : 'off');
}

let context: AudioContext | null = null;

/** Plays a cue, if sounds are on and the machine has any. */
export function play(cue: Cue): void {
  if (!soundOn.value || typeof AudioContext === 'undefined') return;
  context ??= new AudioContext();
  let at = context.currentTime;
  for (const [frequency, length] of tones[cue]) {
    const oscillator = context.createOscillator();
    const gain = context.createGain();
    oscillator.frequency.value = frequency;
    gain.gain.setValueAtTime(0.2, at);
    gain.gain.exponentialRampToValueAtTime(0.001, at + length);
    oscillator.connect(gain).connect(context.destination);
    oscillator.start(at);
    oscillator.stop(at + length);
    at += length;
  }
}
