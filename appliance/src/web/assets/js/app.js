// Every page: settings, Find, keyboard, forms, live events and the state of the link to the server.
import { $, $$, confirm, fire, findPatients, focusForm, listbox, on, openDialog, send, sendDialog, toast, undo } from './lib.js';

const root = document.documentElement;

// --- settings of this device --------------------------------------------------------------------

const setting = (name) => localStorage.getItem(name);
const showSettings = () => {
  for (const button of $$('[data-set]')) {
    const chosen = setting(button.dataset.set) ?? $(`[data-set="${button.dataset.set}"][aria-pressed="true"]`)?.value;
    button.setAttribute('aria-pressed', button.value === chosen);
  }
};
on('click', '[data-set]', (_, button) => {
  const { set } = button.dataset;
  localStorage.setItem(set, button.value);
  if (set !== 'keys') {
    if (button.value === 'auto') delete root.dataset[set];
    else root.dataset[set] = button.value;
  }
  for (const other of $$(`[data-set="${set}"]`)) other.setAttribute('aria-pressed', other === button);
});
showSettings();

// --- dialogs ------------------------------------------------------------------------------------

const open = (name) => {
  $$(':popover-open:not(#toasts)').forEach((pop) => pop.hidePopover());
  if (name === 'find') openFind();
  else $(`#${name}`).showModal();
};
on('click', '[data-open]', (_, button) => open(button.dataset.open));
on('click', '[data-close]', (_, button) => button.closest('dialog').close());
on('click', '[data-print]', () => print());
on('click', '[data-go]', (_, input) => input.showPicker());
on('change', '[data-go]', (_, input) => { if (input.value) input.form.requestSubmit(); });
on('click', '[data-dialog]', (event, button) => {
  event.preventDefault();
  openDialog(button.dataset.dialog);
});
// A click beside a dialog closes it, unless something was typed into it.
on('click', 'dialog', (event, dialog) => {
  if (event.target === dialog && !$('form[data-dialog-form]', dialog)) dialog.close();
});

// --- Find ---------------------------------------------------------------------------------------

const find = $('#find');
const act = {
  new: () => newAppointment(),
  print: () => print(),
  keys: () => open('keys'),
};
const choose = (option) => {
  find.close();
  if (option.dataset.act) act[option.dataset.act]();
  else if (option.dataset.href) location.assign(option.dataset.href);
};
if (find) {
  const input = $('input', find);
  const list = $('#find-list');
  const note = $('.cmd-note', find);
  const commands = [...list.children];
  const box = listbox(input, list, choose);
  const patients = findPatients((found, problem) => {
    $$('[data-id]', list).forEach((option) => option.remove());
    const any = found?.childElementCount;
    if (any) list.prepend(found);
    note.hidden = !problem && (any || !found || commands.some((c) => !c.hidden));
    note.textContent = problem ?? 'No patient found. Try a surname, file number or phone number.';
    box.first();
  });
  const draw = () => {
    const words = input.value.toLowerCase().trim();
    for (const command of commands) command.hidden = !command.dataset.words.includes(words) && !command.textContent.toLowerCase().includes(words);
    box.first();
    patients(input.value);
  };
  input.addEventListener('input', draw);
  // A search field would only empty itself on the first Escape.
  input.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    input.blur();
    find.close();
  });
  find.addEventListener('close', () => { input.value = ''; draw(); });
  $('form', find).addEventListener('submit', (event) => event.preventDefault());
}
function openFind() {
  if (!find || find.open) return;
  find.showModal();
  $('input', find).dispatchEvent(new Event('input'));
}

/** The diary opens its dialog; other pages go there. */
function newAppointment() {
  const button = $('[data-dialog][aria-keyshortcuts="N"]');
  if (button) button.click();
  else location.assign('/day?new');
}

// --- patient picker -----------------------------------------------------------------------------

const readyPickers = new WeakSet();
const pickers = (within) => $$('[data-pick]', within).forEach((pick) => {
  if (readyPickers.has(pick)) return;
  readyPickers.add(pick);
  const [id, input] = $$('input', pick);
  const list = $('[role="listbox"]', pick);
  const show = (visible) => {
    list.hidden = !visible;
    input.setAttribute('aria-expanded', visible);
  };
  const box = listbox(input, list, (option) => {
    id.value = option.dataset.id;
    input.value = option.dataset.label;
    pick.dataset.state = 'chosen';
    show(false);
    id.dispatchEvent(new Event('change', { bubbles: true }));
  });
  const patients = findPatients((found, problem) => {
    if (!found && !problem) return show(false);
    if (found?.childElementCount) list.replaceChildren(found);
    else list.replaceChildren(Object.assign(document.createElement('li'), { className: 'pick-empty', textContent: problem ?? 'No patient found.' }));
    show(true);
    box.first();
  });
  input.addEventListener('input', () => {
    id.value = '';
    delete pick.dataset.state;
    patients(input.value);
  });
  input.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && !list.hidden) {
      event.preventDefault();
      event.stopPropagation();
      show(false);
    }
  });
  pick.addEventListener('focusout', (event) => { if (!pick.contains(event.relatedTarget)) show(false); });
  // Keeps the focus in the field while an option is clicked.
  list.addEventListener('pointerdown', (event) => event.preventDefault());
});
pickers(document);
document.addEventListener('hadada:filled', ({ detail }) => pickers(detail.element));

// --- forms --------------------------------------------------------------------------------------

// A form is sent once: the key that says so is added here when the page left it out.
document.addEventListener('submit', (event) => {
  const form = event.target;
  // Attributes, not properties: a field may be called "method" or "action".
  if (form.getAttribute('method')?.toLowerCase() !== 'post') return;
  if (!form.elements.idempotency_key) {
    form.append(Object.assign(document.createElement('input'), { type: 'hidden', name: 'idempotency_key', value: crypto.randomUUID() }));
  }
  if (event.defaultPrevented || form.matches('[hx-post], [hx-put], [hx-patch], [hx-delete]')) return;
  if (form.matches('[data-dialog-form]')) {
    event.preventDefault();
    sendDialog(form);
  } else if (form.dataset.busy) {
    event.preventDefault();
  } else {
    form.dataset.busy = 'true';
  }
});
// Back from the next page, the browser may show this one as it was left.
addEventListener('pageshow', () => $$('form[data-busy]').forEach((form) => delete form.dataset.busy));

// A page with text that is not on the server says so by cancelling `hadada:unsent`. Its copy on this device stays, sealed
// under the writer's key, until it is sent: signing out loses nothing.
on('submit', '[data-signout]', async (event, form) => {
  if (form.dataset.sure) return;
  const sending = [];
  const unsent = new CustomEvent('hadada:unsent', { cancelable: true, detail: { wait: (promise) => sending.push(promise) } });
  if (document.dispatchEvent(unsent)) return;
  event.preventDefault();
  const sent = sending.length > 0 && (await Promise.all(sending)).every(Boolean);
  const sure = sent || await confirm({
    title: 'Sign out before this note is saved?',
    text: 'Part of it has not reached the clinic server. It stays on this device, encrypted, and comes back when you sign in here and open this visit again.',
    action: 'Sign out',
  });
  if (!sure) return;
  form.dataset.sure = 'true';
  form.requestSubmit();
}, true);

on('submit', '[data-confirm]', async (event, form) => {
  if (form.dataset.sure) return;
  event.preventDefault();
  event.stopPropagation();
  const { confirm: title, confirmText: text, confirmAction: action } = form.dataset;
  if (!await confirm({ title, text, action, danger: true })) return;
  form.dataset.sure = 'true';
  form.requestSubmit();
}, true);

const summary = $('main [data-errors]');
if (summary) focusForm(summary.parentElement);

// --- htmx ---------------------------------------------------------------------------------------

document.addEventListener('htmx:config:request', ({ detail: { ctx } }) => {
  if (ctx.request.method !== 'GET') ctx.request.headers['idempotency-key'] ??= crypto.randomUUID();
});
document.addEventListener('htmx:response:error', async ({ detail: { ctx } }) => {
  const { status } = ctx.response;
  if (status === 401) toast('You were signed out. Sign in again in another tab.', { state: 'bad' });
  else if (status >= 500) toast('The clinic server could not do that. Nothing was changed.', { state: 'bad' });
});
document.addEventListener('htmx:error', () => toast('The clinic server did not answer. Nothing was changed.', { state: 'bad' }));
document.addEventListener('toast', ({ detail }) => toast(detail.text, { state: detail.state }));

// --- keyboard -----------------------------------------------------------------------------------

document.addEventListener('keydown', (event) => {
  const command = event.ctrlKey || event.metaKey;
  const typing = event.target.matches?.('input, textarea, select, [contenteditable]');
  if (command && event.key.toLowerCase() === 'k' && find) {
    event.preventDefault();
    open('find');
  } else if (command && event.key.toLowerCase() === 'z' && !event.shiftKey && !typing) {
    if (undo()) event.preventDefault();
  } else if (!command && !event.altKey && !typing && find && setting('keys') !== 'off' && !$('dialog[open]')) {
    const action = { '/': () => open('find'), '?': () => open('keys'), n: newAppointment, t: () => location.assign('/day') }[event.key.toLowerCase()];
    if (action) {
      event.preventDefault();
      action();
    }
  }
});

// --- live events and the link to the server -----------------------------------------------------

const linkWords = { ok: 'Connected on the clinic network', wait: 'Connecting again', bad: 'No connection to the clinic server' };
let link = 'ok';
let barTimer;
function setLink(state, why) {
  const before = link;
  link = state;
  $$('[data-link]').forEach((dot) => { dot.dataset.state = state; });
  $$('[data-link-text]').forEach((text) => { text.textContent = linkWords[state]; });
  const bar = $('[data-linkbar]');
  clearTimeout(barTimer);
  if (state === 'ok') {
    if (bar) bar.hidden = true;
    if (before !== 'ok') fire('online');
    return;
  }
  if (before === 'ok') fire('offline');
  // Words after 2 seconds: a short break needs none.
  barTimer = setTimeout(() => {
    if (!bar) return;
    bar.lastElementChild.textContent = why ?? 'No connection to the clinic server. What you type is kept; what you see may be old.';
    bar.hidden = false;
  }, 2000);
}

function listen() {
  const source = new EventSource('/events');
  let quiet;
  const heard = () => {
    clearTimeout(quiet);
    quiet = setTimeout(again, 25_000);
  };
  const again = () => {
    clearTimeout(quiet);
    source.close();
    setLink('bad');
    setTimeout(retry, 3000);
  };
  source.onopen = () => { setLink('ok'); heard(); };
  source.onerror = again;
  source.addEventListener('ping', heard);
  // The server could not keep up with this page: it fetches everything again.
  source.addEventListener('resync', () => fire('online'));
  for (const name of ['appointment', 'waiting', 'encounter', 'invoice', 'patient', 'notice']) {
    source.addEventListener(name, ({ data }) => {
      heard();
      fire(name, JSON.parse(data));
    });
  }
  addEventListener('pagehide', () => { clearTimeout(quiet); source.close(); }, { once: true });
}

async function retry() {
  const response = await send('/session');
  if (response?.status === 401) {
    setLink('bad', 'You were signed out. Sign in again in another tab; this page then goes on.');
    setTimeout(retry, 4000);
  } else if (response?.ok) {
    listen();
  } else {
    setLink('bad');
    setTimeout(retry, 3000);
  }
}

if ($('[data-link]')) {
  listen();
  addEventListener('offline', () => setLink('bad'));
  addEventListener('pageshow', async (event) => {
    if (!event.persisted) return;
    // Back after signing out: the log-in page, not what was on the screen.
    if ((await send('/session'))?.status === 401) location.reload();
    else listen();
  });
}
$('#toasts')?.showPopover();

// --- menus in popovers --------------------------------------------------------------------------

// Beside what opened it, and inside the window; positions are set by script, never by a style attribute.
document.addEventListener('toggle', (event) => {
  const menu = event.target;
  if (event.newState !== 'open' || !menu.matches?.('.menu')) return;
  const opener = $(`[popovertarget="${CSS.escape(menu.id)}"]`).closest('.appt, .btn') ?? menu.parentElement;
  const at = opener.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = menu;
  const left = at.right + 6 + width < innerWidth ? at.right + 6 : Math.max(12, at.left - width - 6);
  menu.style.left = `${Math.min(left, innerWidth - width - 12)}px`;
  menu.style.top = `${Math.max(12, Math.min(at.top, innerHeight - height - 12))}px`;
  $('a, button', menu)?.focus({ preventScroll: true });
}, true);

if ('serviceWorker' in navigator && isSecureContext) {
  addEventListener('load', () => navigator.serviceWorker.register('/sw.js').catch(() => {
    // A certificate the browser does not trust yet: pages work, only the offline page is missing.
  }));
}
