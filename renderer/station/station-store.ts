import { defineStore } from 'pinia';
import { ref, shallowReactive, shallowRef } from 'vue';
import { applyChange, type Board, type BoardChange, type BoardHead, type Tile } from '../../src/contract/board.ts';
import { ChannelClient, type Port } from '../../src/contract/channel.ts';
import type { CommandAnswer, CommandInput, CommandName, Session, Welcome } from '../../src/contract/commands.ts';
import { gauges } from './gauges.ts';

const TICKET_KEY = 'dfu-station.ticket';
const RECONNECT_MS = 1000;
/** After so many refusals in a row it is said that this address does not lead to the station. */
const REFUSALS_UNTIL_SAID = 3;

/** How this window stands with the station. */
export type Connection = 'connecting' | 'open' | 'occupied' | 'replaced' | 'lost' | 'refused';

/** The station as this window sees it. */
export const useStation = defineStore('station', () => {
  const connection = ref<Connection>('connecting');
  const welcome = shallowRef<Welcome | null>(null);
  const session = shallowRef<Session | null>(null);
  const head = shallowRef<BoardHead | null>(null);
  const tiles = shallowReactive<Tile[]>([]);
  let client: ChannelClient | null = null;
  let open: () => Promise<Port> = () => Promise.reject(new Error('no port'));
  let refusals = 0;

  function connect(opener: () => Promise<Port>): void {
    open = opener;
    void dial();
  }

  async function dial(takeOver = false): Promise<void> {
    try {
      const port = await open();
      refusals = 0;
      client = new ChannelClient(port, {
        welcome: (value) => {
          welcome.value = value;
          setSession(value.session);
          connection.value = 'open';
        },
        occupied: () => {
          connection.value = 'occupied';
        },
        replaced: () => {
          connection.value = 'replaced';
        },
        snapshot: showBoard,
        change: showChange,
        gauges: (progress, rates) => gauges.take(progress, rates, () => client?.drawn()),
        closed: () => {
          client = null;
          if (connection.value === 'replaced') return;
          connection.value = 'lost';
          setTimeout(dial, RECONNECT_MS);
        },
      });
      client.hello(sessionStorage.getItem(TICKET_KEY), takeOver);
    } catch {
      // Why a WebSocket was refused is not told to a page; it is tried again either way.
      refusals += 1;
      connection.value = refusals >= REFUSALS_UNTIL_SAID ? 'refused' : 'connecting';
      setTimeout(dial, RECONNECT_MS);
    }
  }

  function setSession(value: Session | null): void {
    session.value = value;
    if (value) sessionStorage.setItem(TICKET_KEY, value.ticket);
    else sessionStorage.removeItem(TICKET_KEY);
    if (!value) head.value = null;
  }

  function showBoard(board: Board): void {
    head.value = board.head;
    tiles.splice(0, tiles.length, ...board.tiles);
    gauges.reset(board.gauges);
  }

  function showChange(change: BoardChange): void {
    if (!head.value) return;
    if (change.head) head.value = { ...head.value, ...change.head };
    if (!change.tiles && change.length === undefined) return;
    const touched = (change.tiles ?? []).map(([index]) => index);
    const after = applyChange({ head: head.value, tiles, gauges: [] }, { ...change, head: {} });
    if (after.tiles.length < tiles.length) tiles.length = after.tiles.length;
    for (const index of touched) {
      const tile = after.tiles[index];
      if (tile) tiles[index] = tile;
    }
    if (change.length !== undefined) gauges.reset([]);
  }

  /** Gives a command. Rejects with Refusal. */
  function ask<Name extends CommandName>(command: Name, input: CommandInput<Name>): Promise<CommandAnswer<Name>> {
    if (!client) return Promise.reject(new Error('not connected'));
    return client.ask(command, input);
  }

  /** Takes the station over from the window that has it. */
  function takeOver(): void {
    if (client) client.hello(sessionStorage.getItem(TICKET_KEY), true);
    else void dial(true);
  }

  return { connection, welcome, session, head, tiles, connect, ask, takeOver };
});
