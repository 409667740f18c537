// noble and bleno do `new BluetoothHciSocket()` and pass on only an integer device id, so the program that owns
// the transports registers them here under an id before it starts noble.
const { EventEmitter } = require('node:events');

const transports = new Map();

class BluetoothHciSocket extends EventEmitter {
  #transport = null;

  bindRaw(id) {
    const key = id ?? 0;
    const transport = transports.get(key);
    if (!transport) throw new Error(`no HCI transport is registered under id ${key}`);
    this.#transport = transport;
    return key;
  }

  bindUser(id) {
    return this.bindRaw(id);
  }

  // bleno opens the kernel's management channel for pairing keys; there is no kernel here, so nothing is behind it.
  bindControl() {
    return 0;
  }

  isDevUp() {
    return this.#transport !== null;
  }

  start() {
    this.#transport?.start((packet) => this.emit('data', packet));
  }

  stop() {
    this.#transport?.stop();
    this.#transport = null;
  }

  setFilter() {
    // A kernel socket filters; a transport of one's own delivers what it has.
  }

  write(packet) {
    this.#transport?.write(packet);
  }
}

module.exports = BluetoothHciSocket;
module.exports.register = (id, transport) => {
  if (transports.has(id)) throw new Error(`an HCI transport is already registered under id ${id}`);
  transports.set(id, transport);
};
module.exports.unregister = (id) => transports.delete(id);
