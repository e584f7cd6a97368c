// Nothing typed is lost: a copy on this device at once, the clinic server 800 ms after the last key,
// and again and again until the server has it.
import { $, el, explain, icon, meta, send, session, toast } from '../lib.js';
import { askWhich } from './conflict.js';

export const fields = ['source_text', 'subjective', 'objective', 'assessment', 'plan'];
const same = (a, b) => fields.every((name) => (a[name] ?? '').trim() === (b[name] ?? '').trim());

export async function startAutosave({ encounter, form, kept }) {
  const url = `/encounters/${encounter}/note`;
  const state = $('#saved');
  const messages = $('#note-msgs');
  const others = new BroadcastChannel(`hadada.note.${encounter}`);
  const localKey = meta('local-key').content;

  let version = Number(form.elements.version.value);
  let timer;
  let running = null;
  let paused = false; // a conflict or a refusal waits for a person
  let wait = 2000;
  let echoes = 0; // own saves that the server still tells this page of

  const read = () => Object.fromEntries(fields.map((name) => [name, form.elements[name].value]));
  const write = (values) => {
    for (const name of fields) form.elements[name].value = values[name] ?? '';
    form.dispatchEvent(new CustomEvent('hadada:rewritten', { bubbles: true }));
  };
  let describe = () => ({});
  const snapshot = () => JSON.stringify({ ...read(), ...describe() });
  let saved = snapshot();
  const dirty = () => snapshot() !== saved;

  const words = { saved: 'check', pending: 'refresh-cw', held: 'hard-drive', conflict: 'triangle-alert' };
  const say = (name, text) => {
    state.dataset.state = name;
    state.replaceChildren(icon(words[name]), el('span', {}, text));
  };
  const message = (id, name, ...content) => {
    document.getElementById(id)?.remove();
    if (content.length) messages.append(el('div', { id, class: 'notice', 'data-state': name, role: 'status' }, icon(name === 'info' ? 'info' : 'triangle-alert'), el('div', {}, ...content)));
  };

  // --- sending ------------------------------------------------------------------------------------

  const later = (delay) => {
    clearTimeout(timer);
    timer = setTimeout(push, delay);
  };
  const hold = (text) => {
    say('held', text);
    later(wait);
    wait = Math.min(wait * 2, 30_000);
  };
  const done = (body, answer) => {
    if (answer.version > version) echoes += 1;
    version = answer.version;
    form.elements.version.value = version;
    saved = JSON.stringify(body);
    wait = 2000;
    message('note-refused', 'warn');
    others.postMessage({ saved: version });
    if (dirty()) return later(800);
    kept.forget();
    say('saved', `Saved ${answer.saved_at}`);
  };

  async function put() {
    const body = JSON.parse(snapshot());
    const response = await send(url, { method: 'PUT', json: { version, ...body }, keepalive: true });
    if (response?.ok) {
      message('note-signed-out', 'warn');
      return done(body, await response.json());
    }
    if (response?.status === 401) return signedOut();
    if (response?.status === 409) return void (await conflict(response));
    if (response && response.status < 500 && response.status !== 429 && response.status !== 408) {
      paused = true;
      say('held', 'Kept on this device');
      message('note-refused', 'warn', `${await explain(response)} Your text is kept on this device; it is sent again when you change it.`);
      return;
    }
    hold('Kept on this device');
  }

  /** One request at a time, so that versions follow each other. */
  function push() {
    clearTimeout(timer);
    if (paused || !dirty()) return running ?? Promise.resolve();
    running ??= put().finally(() => { running = null; });
    return running;
  }

  function changed() {
    if (paused === true) paused = false;
    if (paused) return void keep();
    if (!dirty()) {
      clearTimeout(timer);
      return;
    }
    say('pending', 'Saving');
    keep();
    later(800);
  }
  const keep = () => kept.write({ version, ...JSON.parse(snapshot()) });

  // --- the session ended ----------------------------------------------------------------------------

  let asking;
  function signedOut() {
    say('held', 'Kept on this device');
    message('note-signed-out', 'warn', el('b', {}, 'You were signed out. '), 'Sign in again in another tab; your text is kept on this device and is sent then. ', el('a', { href: '/login', target: '_blank' }, 'Sign in'));
    clearTimeout(timer);
    clearTimeout(asking);
    asking = setTimeout(askSession, 3000);
  }
  async function askSession() {
    clearTimeout(asking);
    const found = await session();
    if (!found) asking = setTimeout(askSession, 4000);
    else if (found.local_key !== localKey) {
      message('note-signed-out', 'warn', 'Someone else is signed in on this device now. Your text is kept for you until you sign in again.');
      asking = setTimeout(askSession, 4000);
    } else {
      message('note-signed-out', 'warn');
      push();
    }
  }
  addEventListener('focus', () => { if (document.getElementById('note-signed-out')) askSession(); });

  // --- changed elsewhere ----------------------------------------------------------------------------

  /** Shows both versions; true when the answer was a conflict a person must settle. */
  async function conflict(response) {
    const { theirs, detail } = await response.json().catch(() => ({}));
    if (!theirs) {
      hold(detail ?? 'Kept on this device');
      return false;
    }
    return settle(theirs);
  }
  async function settle(theirs) {
    const mine = read();
    if (same(mine, theirs)) {
      done(JSON.parse(snapshot()), { ...theirs, saved_at: theirs.saved_at });
      return false;
    }
    paused = 'conflict';
    say('conflict', 'Changed elsewhere');
    keep();
    const chosen = await askWhich(messages, mine, theirs);
    paused = false;
    version = theirs.version;
    if (chosen === null) {
      // Signed meanwhile: nothing can be saved any more; the signed page shows the kept copy.
      location.reload();
      return true;
    }
    write(chosen);
    toast('Your choice is in the note.', { undo: () => { write(mine); changed(); } });
    saved = '';
    changed();
    return true;
  }

  const fetchNote = async () => {
    const response = await send(url);
    return response?.ok ? response.json() : null;
  };
  /** Somebody saved this note: take it over when nothing is typed here, else let the version decide. */
  async function newer() {
    if (running || paused) return;
    const theirs = await fetchNote();
    if (!theirs || theirs.version <= version || running || paused) return;
    if (theirs.state === 'signed' && !dirty()) return location.reload();
    if (dirty()) return settle(theirs);
    const at = document.activeElement;
    const place = at?.selectionStart;
    write(theirs);
    saved = snapshot();
    version = theirs.version;
    form.elements.version.value = version;
    if (place != null && form.contains(at)) at.setSelectionRange(place, place);
    say('saved', `Saved ${theirs.saved_at}`);
    message('note-newer', 'info', `Updated with what ${theirs.saved_by} saved at ${theirs.saved_at}.`);
  }

  others.onmessage = ({ data }) => {
    if (data.saved) newer();
    else if (data === 'hello') {
      others.postMessage('here');
      alsoOpen();
    } else if (data === 'here') alsoOpen();
    else if (data === 'bye') message('note-also', 'info');
  };
  const alsoOpen = () => message('note-also', 'info', 'This note is also open in another tab. What you save there appears here.');
  others.postMessage('hello');
  addEventListener('pagehide', () => others.postMessage('bye'));
  document.addEventListener('hadada:encounter', async ({ detail }) => {
    if (detail.id !== encounter) return;
    await running;
    if (echoes > 0) echoes -= 1;
    else newer();
  });

  // --- events -----------------------------------------------------------------------------------------

  form.addEventListener('input', changed);
  form.addEventListener('submit', (event) => event.preventDefault());
  document.addEventListener('hadada:online', push);
  addEventListener('online', push);
  addEventListener('visibilitychange', () => { if (document.hidden && dirty()) push(); });
  /** Sends what is left; true when the server has everything. */
  async function flush() {
    for (let tries = 0; tries < 3 && dirty() && !paused; tries += 1) {
      await running;
      await push();
    }
    return !dirty() && !paused;
  }
  document.addEventListener('hadada:unsent', (event) => {
    if (!dirty()) return;
    event.preventDefault();
    event.detail.wait(flush());
  });
  // Another tab dropped the copy after its own save; this tab's text still needs one.
  kept.onforgotten(() => { if (dirty()) keep(); });

  // --- a copy from before -----------------------------------------------------------------------------

  const left = await kept.read();
  if (left && !same(left, read())) {
    if (left.version === version) {
      const before = read();
      write(left);
      message('note-restored', 'info', 'Text that had not reached the clinic server was restored from this device.');
      toast('Restored what you had typed.', { undo: () => { write(before); changed(); } });
      changed();
    } else {
      const theirs = await fetchNote();
      const mine = read();
      write(left);
      if (theirs) settle(theirs);
      else write(mine);
    }
  } else if (left) kept.forget();

  return {
    changed,
    conflict,
    version: () => version,
    flush,
    /** Adds what `more()` returns to every save: the decisions about drafted sentences. */
    include(more) {
      const clean = !dirty();
      describe = more;
      if (clean) saved = snapshot();
    },
  };
}
