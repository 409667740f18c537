import { type Ref, ref, type ShallowRef, shallowRef } from 'vue';
import { Refusal } from '../../src/contract/channel.ts';
import type { ErrorCode } from '../../src/contract/errors.ts';

/** A refusal as screens show it. */
export interface ShownRefusal {
  readonly code: ErrorCode;
  readonly detail: string;
}

/** Runs work that may be refused: one at a time, its refusal kept for the screen until the next. */
export function useCommand(): {
  readonly busy: Ref<boolean>;
  readonly refusal: ShallowRef<ShownRefusal | null>;
  run<T>(work: () => Promise<T>): Promise<T | null>;
} {
  const busy = ref(false);
  const refusal = shallowRef<ShownRefusal | null>(null);
  return {
    busy,
    refusal,
    async run(work) {
      busy.value = true;
      refusal.value = null;
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        refusal.value = { code: error.code, detail: error.detail };
        return null;
      } finally {
        busy.value = false;
      }
    },
  };
}
