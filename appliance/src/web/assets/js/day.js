// The diary: moving an appointment by drag, grip or keyboard, booking, status, live changes.
// A card's place is its column and its row classes, so that no style attribute is needed.
import { $, $$, explain, on, openDialog, parse, send, toast } from './lib.js';

const cal = $('#cal');
const body = $('.cal-body', cal);
const columns = $$('.cal-col', cal);
const minutes = (time) => {
  const [hours, rest] = time.split(':').map(Number);
  return hours * 60 + rest;
};
const first = minutes(cal.dataset.first);
const rows = 132;
const step = 3; // a quarter of an hour
const toTime = (row) => {
  const total = first + (row - 1) * 5;
  return `${String(Math.floor(total / 60)).padStart(2, '0')}:${String(total % 60).padStart(2, '0')}`;
};
const toRow = (time) => (minutes(time) - first) / 5 + 1;
const rowHeight = () => $('.cal-times', cal).getBoundingClientRect().height / rows;
const rowAt = (y) => (y - body.getBoundingClientRect().top) / rowHeight() + 1;
const geometry = (element) => {
  const number = (letter) => Number(element.className.match(new RegExp(`\\b${letter}(\\d+)\\b`))?.[1]);
  const row = number('r');
  return { row, span: element.matches('.cal-off-tail') ? rows + 1 - row : number('s') };
};
const setRow = (element, row) => { element.className = element.className.replace(/\br\d+\b/, `r${row}`); };
const card = (id) => document.getElementById(`appt-${id}`);
const column = (practitioner) => columns.find((c) => c.dataset.practitioner === practitioner);
const closeMenus = () => $$('.menu:popover-open').forEach((menu) => menu.hidePopover());

// --- now line -----------------------------------------------------------------------------------

const now = $('.cal-now', cal);
if (now) {
  cal.scrollTop = now.offsetTop - cal.clientHeight * 0.42;
  const since = performance.now();
  const start = minutes(now.dataset.now);
  setInterval(() => {
    const time = start + Math.floor((performance.now() - since) / 60_000);
    const row = Math.floor((time - first) / 5) + 1;
    now.hidden = row < 1 || row > rows;
    if (now.hidden) return;
    setRow(now, row);
    now.firstElementChild.textContent = `${String(Math.floor(time / 60)).padStart(2, '0')}:${String(time % 60).padStart(2, '0')}`;
  }, 15_000);
}

// --- cards come and go --------------------------------------------------------------------------

let moving = null;
const waitingCards = new Map();

/** Puts a card from the server where it belongs, unless someone holds it or has its menu open. */
function settle(id, fresh) {
  const old = card(id);
  if (moving?.card === old && old) return waitingCards.set(id, fresh);
  if (old && $('.menu:popover-open', old)) return waitingCards.set(id, fresh);
  waitingCards.delete(id);
  if (!fresh) return old?.remove();
  const place = column(fresh.dataset.practitioner);
  if (!place) return old?.remove();
  if (old && old.dataset.version === fresh.dataset.version && old.className === fresh.className && old.textContent === fresh.textContent) return;
  const focused = old?.contains(document.activeElement);
  old?.remove();
  fresh.dataset.fresh = '';
  const later = $$('.appt', place).find((other) => geometry(other).row > geometry(fresh).row);
  if (later) later.before(fresh);
  else place.append(fresh);
  window.htmx?.process(fresh);
  if (focused) $('.appt-a', fresh).focus({ preventScroll: true });
}
const settleWaiting = () => waitingCards.forEach((fresh, id) => settle(id, fresh));
const cardFrom = (html) => parse(html).querySelector('.appt');

// --- moving -------------------------------------------------------------------------------------

/** What already takes the time the moved card is over. The server checks again; this warns early. */
function taken() {
  const start = moving.row;
  const end = start + moving.span;
  for (const other of $$('.appt, .cal-block, .cal-off', columns[moving.column])) {
    if (other === moving.card || other === moving.ghost || other.dataset.state === 'cancelled') continue;
    const { row, span } = geometry(other);
    if (start < row + span && row < end) return other.dataset.who;
  }
  return null;
}

function place(row, at) {
  moving.row = Math.max(1, Math.min(rows + 1 - moving.span, row));
  moving.column = Math.max(0, Math.min(columns.length - 1, at));
  setRow(moving.ghost, moving.row);
  const home = columns[moving.column];
  if (moving.ghost.parentNode !== home) home.append(moving.ghost);
  const who = taken();
  moving.ghost.dataset.move = who ? 'clash' : 'live';
  moving.label.textContent = who ? `${toTime(moving.row)} taken: ${who}` : toTime(moving.row);
  if (moving.mode === 'pick') say.textContent = `${moving.label.textContent}, ${home.dataset.name}`;
}
const say = document.createElement('p');
say.className = 'vh';
say.setAttribute('role', 'status');
cal.before(say);

function begin(held, mode) {
  closeMenus();
  if (!held.hasAttribute('data-movable')) {
    toast('Only appointments that have not started can move.');
    return false;
  }
  const ghost = held.cloneNode(true);
  ghost.removeAttribute('id');
  $('.menu', ghost)?.remove();
  ghost.inert = true;
  const label = document.createElement('span');
  label.className = 'appt-time';
  ghost.append(label);
  const { row, span } = geometry(held);
  moving = { card: held, ghost, label, mode, span, row, column: columns.indexOf(held.parentElement) };
  held.dataset.move = 'from';
  place(row, moving.column);
  return true;
}

function stop() {
  const done = moving;
  if (!done) return null;
  delete done.card.dataset.move;
  done.ghost.remove();
  moving = null;
  say.textContent = '';
  settleWaiting();
  return done;
}

async function drop() {
  const who = taken();
  const { card: held, row, column: at } = stop();
  if (who) {
    toast(`${toTime(row)} is taken: ${who}. The appointment has not moved.`, { state: 'bad' });
    return;
  }
  const from = { start: held.dataset.start, practitioner_id: held.dataset.practitioner };
  const to = { start: toTime(row), practitioner_id: columns[at].dataset.practitioner };
  if (from.start !== to.start || from.practitioner_id !== to.practitioner_id) await move(held.dataset.id, to, from);
}

/** Shows the move at once, asks the server, and puts the card back when it refuses. */
async function move(id, to, from) {
  const held = card(id);
  if (!held) return;
  setRow(held, toRow(to.start));
  column(to.practitioner_id).append(held);
  held.dataset.busy = 'true';
  const response = await send(`/appointments/${id}/move`, { method: 'POST', form: { ...to, date: cal.dataset.date, version: held.dataset.version } });
  delete held.dataset.busy;
  if (response?.ok) {
    settle(id, cardFrom(await response.text()));
    $('.appt-a', card(id))?.focus({ preventScroll: true });
    toast(`${held.dataset.who} moved to ${to.start} with ${column(to.practitioner_id).dataset.name}.`, { undo: from && (() => move(id, from)) });
    return;
  }
  setRow(held, toRow(held.dataset.start));
  column(held.dataset.practitioner)?.append(held);
  toast(`${await explain(response)} The appointment has not moved.`, { state: 'bad' });
  if (response?.status === 409) refresh(id);
}

// Mouse and pen drag after 5 pixels, a finger after it has rested for 350 ms.
let press = null;
let dropped = false;
cal.addEventListener('pointerdown', (event) => {
  const held = event.target.closest('.appt');
  if (!held || event.button || event.target.closest('.menu, [data-grip]') || moving) return;
  press = { card: held, x: event.clientX, y: event.clientY, offset: rowAt(event.clientY) - geometry(held).row, touch: event.pointerType === 'touch' };
  if (press.touch) {
    press.timer = setTimeout(() => {
      if (begin(held, 'drag')) navigator.vibrate?.(15);
    }, 350);
  }
});
addEventListener('pointermove', (event) => {
  if (!press) return;
  if (!moving) {
    const far = Math.hypot(event.clientX - press.x, event.clientY - press.y) > 5;
    if (!far) return;
    if (press.touch || !begin(press.card, 'drag')) {
      clearTimeout(press.timer);
      press = null;
      return;
    }
  }
  const row = Math.round((rowAt(event.clientY) - press.offset - 1) / step) * step + 1;
  const at = columns.findIndex((c) => {
    const box = c.getBoundingClientRect();
    return event.clientX >= box.left && event.clientX < box.right;
  });
  place(row, at < 0 ? moving.column : at);
});
// A finger that drags must not scroll the diary as well.
cal.addEventListener('touchmove', (event) => { if (moving?.mode === 'drag') event.preventDefault(); }, { passive: false });
addEventListener('pointerup', () => {
  if (!press) return;
  clearTimeout(press.timer);
  press = null;
  if (moving?.mode !== 'drag') return;
  drop();
  // The click that ends a drag opens nothing.
  dropped = true;
  setTimeout(() => { dropped = false; }, 60);
});
addEventListener('pointercancel', () => {
  clearTimeout(press?.timer);
  press = null;
  if (moving?.mode === 'drag') stop();
});
cal.addEventListener('dragstart', (event) => event.preventDefault());
cal.addEventListener('contextmenu', (event) => { if (moving) event.preventDefault(); });

// Without dragging: the grip or M picks up, a click or the arrow keys and Enter put down.
const pick = (held) => {
  if (begin(held, 'pick')) toast('Click a new time, or use the arrow keys and Enter. Esc cancels.');
};
cal.addEventListener('click', (event) => {
  if (dropped) {
    event.preventDefault();
    event.stopPropagation();
    return;
  }
  const grip = event.target.closest('[data-grip]');
  if (grip) {
    event.preventDefault();
    const held = grip.closest('.appt');
    pick(held);
    $('.appt-a', held).focus({ preventScroll: true });
    return;
  }
  const at = columns.indexOf(event.target.closest('.cal-col'));
  if (at < 0) return;
  const row = Math.floor((rowAt(event.clientY) - 1) / step) * step + 1;
  if (moving?.mode === 'pick') {
    event.preventDefault();
    event.stopPropagation();
    place(row, at);
    drop();
  } else if (event.target === columns[at] && columns[at].hasAttribute('data-bookable') && row <= rows) {
    const { date } = cal.dataset;
    openDialog(`/appointments/new?${new URLSearchParams({ date, start: toTime(row), practitioner_id: columns[at].dataset.practitioner })}`);
  }
}, true);
document.addEventListener('keydown', (event) => {
  if (moving) {
    const by = { ArrowUp: [-step, 0], ArrowDown: [step, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (by) place(moving.row + by[0], moving.column + by[1]);
    else if (event.key === 'Enter') drop();
    else if (event.key === 'Escape') {
      const { card: held } = stop();
      $('.appt-a', held).focus({ preventScroll: true });
      toast('Not moved.');
    } else return;
    event.preventDefault();
    event.stopPropagation();
    moving?.ghost.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    return;
  }
  const held = event.target.closest?.('.appt');
  if (held && event.key.toLowerCase() === 'm' && !event.ctrlKey && !event.metaKey && localStorage.getItem('keys') !== 'off') {
    event.preventDefault();
    pick(held);
    $('.appt-a', held).focus({ preventScroll: true });
  }
}, true);

// --- status -------------------------------------------------------------------------------------

async function status(id, to, from) {
  const held = card(id);
  if (!held) return;
  held.dataset.busy = 'true';
  const response = await send(`/appointments/${id}/status`, { method: 'POST', form: { to, date: cal.dataset.date, version: held.dataset.version } });
  delete held.dataset.busy;
  if (!response?.ok) {
    toast(`${await explain(response)} Nothing was changed.`, { state: 'bad' });
    if (response?.status === 409) refresh(id);
    return;
  }
  const fresh = cardFrom(await response.text());
  settle(id, fresh);
  $('.appt-a', card(id))?.focus({ preventScroll: true });
  panels();
  const words = fresh ? $('.appt-meta > span', fresh).textContent : 'Changed';
  toast(`${held.dataset.who}: ${words}.`, { undo: from && (() => status(id, from)) });
}
on('click', '.menu [data-to]', (_, button) => {
  const held = button.closest('.appt');
  closeMenus();
  status(held.dataset.id, button.dataset.to, held.dataset.state);
});

// --- booking ------------------------------------------------------------------------------------

document.addEventListener('hadada:dialog', ({ detail }) => {
  const fresh = cardFrom(detail.html);
  const date = detail.form.get('date');
  if (!fresh) return refreshDay();
  if (date && date !== cal.dataset.date) {
    toast(`${fresh.dataset.who} is booked for ${date} at ${fresh.dataset.start}.`);
    return;
  }
  settle(fresh.dataset.id, fresh);
  const placed = card(fresh.dataset.id);
  placed?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  $('.appt-a', placed ?? cal)?.focus({ preventScroll: true });
  panels();
  toast(`${fresh.dataset.who} is booked at ${fresh.dataset.start}.`);
});
if (new URLSearchParams(location.search).has('new')) $('[data-dialog][aria-keyshortcuts="N"]')?.click();

// --- live ---------------------------------------------------------------------------------------

/** Fetches one card again and changes just that card. */
async function refresh(id) {
  const response = await send(`/appointments/${id}/card?${new URLSearchParams({ date: cal.dataset.date })}`);
  if (response?.ok) settle(id, cardFrom(await response.text()));
  else if (response?.status === 404) settle(id, null);
}

let panelTimer;
/** Waiting room and figures, once for a burst of changes. */
function panels() {
  clearTimeout(panelTimer);
  panelTimer = setTimeout(async () => {
    for (const part of ['waiting', 'stats']) {
      const old = document.getElementById(part);
      const response = old && await send(`/day/fragments/${part}?${new URLSearchParams({ date: cal.dataset.date })}`);
      if (!response?.ok) continue;
      const fresh = parse(await response.text()).firstElementChild;
      if (fresh) old.replaceWith(fresh);
    }
  }, 250);
}

/** After a lost link: every card as the server has it now. */
async function refreshDay() {
  const response = await send(`/day?${new URLSearchParams({ date: cal.dataset.date })}`);
  if (!response?.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), 'text/html');
  const found = new Map($$('#cal .appt', page).map((fresh) => [fresh.dataset.id, fresh]));
  for (const old of $$('.appt[id]', cal)) if (!found.has(old.dataset.id)) settle(old.dataset.id, null);
  for (const [id, fresh] of found) settle(id, fresh);
  panels();
}

document.addEventListener('hadada:appointment', ({ detail }) => {
  refresh(detail.id);
  panels();
});
document.addEventListener('hadada:waiting', panels);
document.addEventListener('hadada:online', refreshDay);
document.addEventListener('toggle', (event) => {
  if (event.newState === 'closed' && event.target.matches?.('.menu')) settleWaiting();
}, true);
