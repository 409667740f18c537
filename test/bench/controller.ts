import type { ControllerLimits } from '../../src/radio/perfect-sender.ts';

/**
 * The controller that figures are taken with: Zephyr's own, as it was recorded with four units (7 buffers of 251 octets, anchors 4.81 ms apart,
 * each packet reported by an event of its own). Its figures are written here once more, so that the bench and the perfect sender take none of
 * them from the simulator.
 */
export const realController = { aclBuffers: 7, slotUs: 4810, completed: 'each', crowded: 'share' } as const;

/** The same for the perfect sender; `latencyMs` is one way between host and controller. */
export function limitsOf(latencyMs = 0): ControllerLimits {
  return { buffers: 7, anchorsApartMs: 4.81, roundTripMs: 2 * latencyMs };
}
