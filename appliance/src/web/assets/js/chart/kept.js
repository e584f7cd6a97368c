// A copy of unsaved text on this device, encrypted under a key only the signed-in user's pages get.
import { meta } from '../lib.js';

const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
const base64 = (buffer) => btoa(Array.from(new Uint8Array(buffer), (b) => String.fromCharCode(b)).join(''));

export class Kept {
  #key;
  #name;
  #writing = null;
  #next = null;

  static async open(encounter) {
    const kept = new Kept();
    const raw = bytes(meta('local-key').content);
    kept.#key = await crypto.subtle.importKey('raw', raw, 'AES-GCM', false, ['encrypt', 'decrypt']);
    // The name tells users of one device apart without saying who they are.
    const digest = await crypto.subtle.digest('SHA-256', raw);
    kept.#name = `hadada.kept.${encounter}.${base64(digest).slice(0, 12)}`;
    return kept;
  }

  /** Keeps the newest value; a burst of keys writes the last one. */
  write(value) {
    this.#next = value;
    this.#writing ??= this.#drain();
    return this.#writing;
  }

  async #drain() {
    while (this.#next) {
      const value = this.#next;
      this.#next = null;
      const iv = crypto.getRandomValues(new Uint8Array(12));
      const text = new TextEncoder().encode(JSON.stringify(value));
      const sealed = await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, this.#key, text);
      try {
        localStorage.setItem(this.#name, `${base64(iv)}.${base64(sealed)}`);
      } catch {
        // The device's storage is full or switched off; the server's copy is what counts.
      }
    }
    this.#writing = null;
  }

  /** The copy, or null when there is none or it is not this user's. */
  async read() {
    const [iv, sealed] = (localStorage.getItem(this.#name) ?? '').split('.');
    if (!sealed) return null;
    try {
      const text = await crypto.subtle.decrypt({ name: 'AES-GCM', iv: bytes(iv) }, this.#key, bytes(sealed));
      return JSON.parse(new TextDecoder().decode(text));
    } catch {
      return null;
    }
  }

  onforgotten(handler) {
    addEventListener('storage', (event) => { if (event.key === this.#name && !event.newValue) handler(); });
  }

  async forget() {
    this.#next = null;
    await this.#writing;
    localStorage.removeItem(this.#name);
  }
}
