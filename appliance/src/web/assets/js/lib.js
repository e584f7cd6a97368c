// What every page script needs: requests, toasts with undo, dialogs, list boxes.

export const $ = (selector, within = document) => within.querySelector(selector);
export const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
export const meta = (name) => $(`meta[name="${name}"]`);

/** Runs `handler(event, element)` for events on elements that match, now or later. */
export const on = (type, selector, handler, options) =>
  document.addEventListener(type, (event) => {
    const element = event.target.closest?.(selector);
    if (element) handler(event, element);
  }, options);

/** Fires an event that scripts hear on `document` and htmx hears as `from:body`. */
export const fire = (name, detail) => document.body.dispatchEvent(new CustomEvent(`hadada:${name}`, { detail, bubbles: true }));

export const icon = (name) => {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('class', 'i');
  svg.setAttribute('aria-hidden', 'true');
  svg.innerHTML = `<use href="${document.documentElement.dataset.icons}#${name}"></use>`;
  return svg;
};

/** An element with attributes and children; text is never read as markup. */
export const el = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
};

/** Elements out of markup the clinic server sent. */
export const parse = (html) => {
  const template = document.createElement('template');
  template.innerHTML = html;
  return template.content;
};

// --- requests -----------------------------------------------------------------------------------

/** The response, or null when the server did not answer. Throws only when the caller aborted. */
export async function send(url, { method = 'GET', form, json, signal, keepalive, key = crypto.randomUUID() } = {}) {
  const headers = { 'hx-request': 'true' };
  if (method !== 'GET') headers['idempotency-key'] = key;
  if (json) headers['content-type'] = 'application/json';
  const body = json ? JSON.stringify(json) : form && new URLSearchParams(form instanceof FormData ? [...form] : form);
  // A browser refuses to outlive the page with more than 64 KB.
  const outlive = Boolean(keepalive) && body.length < 20_000;
  try {
    return await fetch(url, { method, headers, body, signal, keepalive: outlive, credentials: 'same-origin' });
  } catch (error) {
    if (signal?.aborted) throw error;
    return null;
  }
}

export const isProblem = (response) => response.headers.get('content-type')?.startsWith('application/problem+json');

/** What went wrong, in the server's words where it sent some. */
export async function explain(response) {
  if (!response) return 'The clinic server did not answer.';
  if (response.status === 401) return 'You were signed out. Sign in again in another tab.';
  const problem = isProblem(response) ? await response.json().catch(() => null) : null;
  // A broken rule says more than that there is one.
  if (problem?.errors?.length) return problem.errors.map((error) => error.message).join(' ');
  return problem?.detail ?? `The clinic server refused (${response.status}).`;
}

/** Who is signed in now, as the server sees it; null when nobody is or the server is away. */
export async function session() {
  const response = await send('/session');
  return response?.ok ? response.json() : null;
}

// --- toasts and undo ----------------------------------------------------------------------------

let undoLast = null;
let toastTimer;

/** Says what happened for 10 seconds. `undo` adds a button and Ctrl+Z; state "bad" is for refusals. */
export function toast(text, { undo, state } = {}) {
  const box = $('#toasts');
  if (!box) return;
  const close = () => {
    note.remove();
    undoLast = null;
  };
  const note = el('div', { class: 'toast', 'data-state': state }, el('span', {}, text));
  undoLast = undo ? () => { close(); undo(); } : null;
  if (undo) note.append(el('button', { type: 'button', click: undoLast }, 'Undo'));
  // Shown again, so that it lies above a dialog opened in the meantime.
  if (box.matches(':popover-open')) box.hidePopover();
  box.showPopover();
  box.replaceChildren(note);
  clearTimeout(toastTimer);
  toastTimer = setTimeout(close, 10_000);
}

/** Takes back the last thing a toast offered to undo; false when there is none. */
export function undo() {
  if (!undoLast) return false;
  undoLast();
  return true;
}

// --- dialogs ------------------------------------------------------------------------------------

/** Puts the focus where work goes on: the error summary, a field marked so, or the first field. */
export function focusForm(within) {
  const target = $('[data-errors]', within) ?? $('[autofocus]', within) ?? $('.field :is(input, select, textarea):not([type="hidden"])', within);
  target?.focus();
}

const fill = (dialog, html) => {
  dialog.replaceChildren(parse(html));
  window.htmx?.process(dialog);
  fire('filled', { element: dialog });
  focusForm(dialog);
};

/** Shows other markup in the page's dialog. */
export const fillDialog = (html) => fill($('#dialog'), html);

/** Loads a form into the page's dialog and opens it. */
export async function openDialog(url) {
  const dialog = $('#dialog');
  const response = await send(url);
  if (!response?.ok) return toast(await explain(response), { state: 'bad' });
  dialog.className = 'dlg';
  if (!dialog.open) dialog.showModal();
  fill(dialog, await response.text());
}

/** Sends the form of a dialog; the server answers with a result, a redirect or the form with errors. */
export async function sendDialog(form) {
  if (form.dataset.busy) return;
  form.dataset.busy = 'true';
  const dialog = form.closest('dialog');
  const data = new FormData(form);
  const url = form.getAttribute('action');
  const response = await send(url, { method: 'POST', form: data, key: data.get('idempotency_key') ?? undefined });
  delete form.dataset.busy;
  if (response?.redirected) return location.assign(response.url);
  if (response?.ok) {
    dialog.close();
    return fire('dialog', { url, status: response.status, html: await response.text(), form: data });
  }
  if (response && !isProblem(response) && response.status < 500 && response.status !== 401) return fill(dialog, await response.text());
  const text = await explain(response);
  $('.errors', form)?.remove();
  const errors = el('div', { class: 'errors', role: 'alert', tabindex: '-1', 'data-errors': true }, el('p', {}, text));
  $('.dlg-b', form).prepend(errors);
  errors.focus();
}

/** Asks before what can't be undone. Resolves to true when the person goes ahead. */
export function confirm({ title, text, action, danger }) {
  const dialog = $('#dialog');
  return new Promise((resolve) => {
    let answer = false;
    const choose = (value) => () => { answer = value; dialog.close(); };
    dialog.className = 'dlg dlg-small';
    dialog.replaceChildren(
      el('header', { class: 'dlg-h' }, el('h2', { id: 'dialog-h' }, title)),
      el('div', { class: 'dlg-b' }, el('p', {}, text)),
      el('footer', { class: 'dlg-f' },
        el('button', { type: 'button', class: 'btn', click: choose(false) }, 'Cancel'),
        el('button', { type: 'button', class: `btn ${danger ? 'btn-danger' : 'btn-primary'}`, click: choose(true), autofocus: true }, action)),
    );
    dialog.addEventListener('close', () => resolve(answer), { once: true });
    dialog.showModal();
  });
}

// --- list boxes ---------------------------------------------------------------------------------

/** Arrow keys, Enter and clicks for the options of `list`, driven from `input`. */
export function listbox(input, list, choose) {
  let current = 0;
  const options = () => $$('[role="option"]:not([hidden])', list);
  const mark = () => {
    const shown = options();
    current = Math.max(0, Math.min(current, shown.length - 1));
    shown.forEach((option, i) => {
      option.id ||= `${list.id}-${crypto.randomUUID().slice(0, 8)}`;
      option.setAttribute('aria-selected', i === current);
    });
    const chosen = shown[current];
    if (chosen) input.setAttribute('aria-activedescendant', chosen.id);
    else input.removeAttribute('aria-activedescendant');
    chosen?.scrollIntoView({ block: 'nearest' });
  };
  input.addEventListener('keydown', (event) => {
    if (list.hidden) return;
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      current += event.key === 'ArrowDown' ? 1 : -1;
      mark();
    } else if (event.key === 'Enter') {
      event.preventDefault();
      const chosen = options()[current];
      if (chosen) choose(chosen);
    }
  });
  list.addEventListener('click', (event) => {
    const option = event.target.closest('[role="option"]');
    if (option) choose(option);
  });
  return { first() { current = 0; mark(); } };
}

/** Asks the server for patients while somebody types; the last question wins. */
export function findPatients(show) {
  let timer;
  let running;
  return (query) => {
    clearTimeout(timer);
    running?.abort();
    if (query.trim().length < 2) return show(null);
    timer = setTimeout(async () => {
      running = new AbortController();
      try {
        const response = await send(`/patients/find?${new URLSearchParams({ q: query.trim() })}`, { signal: running.signal });
        show(response?.ok ? parse(await response.text()) : null, response?.ok ? null : await explain(response));
      } catch {
        // A newer question replaced this one.
      }
    }, 120);
  };
}
