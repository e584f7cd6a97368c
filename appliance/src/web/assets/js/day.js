// The diary: moving an appointment by drag, grip or keyboard, booking, status, live changes.
// A card's place is its column and its row classes, so that no style attribute is needed.
import { $, $$, explain, fillDialog, isProblem, on, openDialog, parse, send, toast } from './lib.js';

const cal = $('#cal');
const body = $('.cal-body', cal);
const columns = $$('.cal-col', cal);
const minutes = (time) => {
  const [hours, rest] = time.split(':').map(Number);
  return hours * 60 + rest;
};
const first = minutes(cal.dataset.first);
const rows = Number(cal.dataset.hours) * 12;
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
  return { row, span: number('s') };
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

// Waiting times go on counting without asking the server.
const longWait = 15;
setInterval(() => {
  for (const mins of $$('.mins')) {
    const count = $('b', mins);
    count.textContent = Number(count.textContent) + 1;
    if (Number(count.textContent) >= longWait) mins.dataset.state = 'late';
  }
  for (const text of $$('.appt[data-state="arrived"] .appt-meta > span:first-of-type', cal)) {
    text.textContent = text.textContent.replace('just now', '0 min ago').replace(/\d+/, (n) => Number(n) + 1);
  }
}, 60_000);

// --- cards come and go --------------------------------------------------------------------------

let moving = null;
const waitingCards = new Map();

/** Puts a card from the server where it belongs, unless someone holds it or has its menu open. */
function settle(id, fresh) {
  const old = card(id);
  if (moving?.card === old && old) return waitingCards.set(id, fresh);
  if (old && $('.menu:popover-open', old)) return waitingCards.set(id, fresh);
  waitingCards.delete(id);
  const from = old?.parentElement;
  const place = fresh && column(fresh.dataset.practitioner);
  if (!place) {
    old?.remove();
    return share(from);
  }
  const row = toRow(fresh.dataset.start);
  const { span } = geometry(fresh);
  // Outside the hours that are shown: the page with more hours has room for it.
  if (row < 1 || row + span > rows + 1) return location.reload();
  setRow(fresh, row);
  if (old && old.dataset.version === fresh.dataset.version && old.className === fresh.className && old.textContent === fresh.textContent) return;
  const focused = old?.contains(document.activeElement);
  old?.remove();
  fresh.dataset.fresh = '';
  const later = $$('.appt, .cal-block', place).find((other) => geometry(other).row > geometry(fresh).row);
  if (later) later.before(fresh);
  else place.append(fresh);
  share(place);
  if (from !== place) share(from);
  if (focused) focusCard(fresh);
}
const focusCard = (placed) => $('.appt-a, .cal-block-a', placed)?.focus({ preventScroll: true });

/** Puts somebody who did not arrive beside the booking that took their time. */
function share(place) {
  if (!place) return;
  const cards = $$('.appt', place);
  for (const each of cards) delete each.dataset.lane;
  for (const missed of cards.filter((each) => each.dataset.state === 'noshow')) {
    const { row, span } = geometry(missed);
    const taken = cards.filter((each) => {
      const other = geometry(each);
      return each.dataset.state !== 'noshow' && other.row < row + span && row < other.row + other.span;
    });
    if (taken.length) missed.dataset.lane = 'right';
    for (const each of taken) each.dataset.lane = 'left';
  }
}
const settleWaiting = () => waitingCards.forEach((fresh, id) => settle(id, fresh));
const cardFrom = (html) => parse(html).querySelector('.appt, .cal-block');

// --- moving -------------------------------------------------------------------------------------

/** What already takes the time the moved card is over. The server checks again; this warns early. */
function taken() {
  const start = moving.row;
  const end = start + moving.span;
  for (const other of $$('.appt, .cal-block, .cal-off', columns[moving.column])) {
    if (other === moving.card || other === moving.ghost || other.dataset.state === 'noshow') continue;
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
  const response = await send(`/appointments/${id}/move`, { method: 'POST', form: { ...to, date: cal.dataset.date, version: held.dataset.version, outside_hours: from ? '' : 'true' } });
  delete held.dataset.busy;
  if (response?.ok) {
    settle(id, cardFrom(await response.text()));
    focusCard(card(id));
    panels();
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
  if (at < 0 || event.target.closest('.menu')) return;
  const row = Math.floor((rowAt(event.clientY) - 1) / step) * step + 1;
  if (moving?.mode === 'pick') {
    event.preventDefault();
    event.stopPropagation();
    place(row, at);
    drop();
  } else if (event.detail && event.target.closest('.cal-open[data-dialog]')) {
    // A long open stretch is booked where it was clicked; with the keyboard, at its start.
    const open = event.target.closest('.cal-open');
    const { row: from, span } = geometry(open);
    event.preventDefault();
    event.stopPropagation();
    const url = new URL(open.dataset.dialog, location);
    if (span > 12) url.searchParams.set('start', toTime(Math.max(from, Math.min(row, from + span - step))));
    openDialog(url.pathname + url.search);
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

/** Asks the server for another state. `from` makes it undoable; `version` is the booking's, whose card may be gone. */
async function status({ id, who, version, to, from, reason = '' }) {
  const held = card(id);
  if (held) held.dataset.busy = 'true';
  const response = await send(`/appointments/${id}/status`, { method: 'POST', form: { to, date: cal.dataset.date, version, reason } });
  if (held) delete held.dataset.busy;
  if (!response?.ok) {
    toast(`${await explain(response)} Nothing was changed.`, { state: 'bad' });
    if (response?.status === 409) refresh(id);
    return;
  }
  changed({ id, who, version, to, from, html: await response.text() });
}

/** Shows a new state that the server took. */
function changed({ id, who, version, to, from, html }) {
  const fresh = cardFrom(html);
  settle(id, fresh);
  focusCard(card(id) ?? cal);
  panels();
  const words = to === 'cancelled' ? 'taken out of the diary' : (fresh && $('.appt-meta > span', fresh)?.textContent) ?? 'back in the diary';
  const back = { id, who, version: Number(version) + 1, to: from };
  toast(`${who}: ${words}.`, { undo: from && (() => status(back)) });
}

const standing = (held) => ({ id: held.dataset.id, who: held.dataset.who, version: held.dataset.version, from: held.dataset.status });
on('click', '.menu [data-to]', (_, button) => {
  const held = button.closest('.appt, .cal-block');
  closeMenus();
  status({ ...standing(held), to: button.dataset.to });
});

// --- booking ------------------------------------------------------------------------------------

/** Shows a booking that was just made, here or on another day. */
function booked(fresh, date, words) {
  const { id, who, version, start } = fresh.dataset;
  const undo = () => status({ id, who, version, to: 'cancelled', reason: 'Booked by mistake' });
  panels();
  if (date !== cal.dataset.date) {
    toast(`${who} ${words} on ${date} at ${start}.`, { undo });
    return;
  }
  settle(id, fresh);
  const placed = card(id);
  placed?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  focusCard(placed ?? cal);
  toast(`${who} ${words} at ${start}.`, { undo });
}

document.addEventListener('hadada:dialog', ({ detail }) => {
  const { html, url, form } = detail;
  if (url.startsWith('/waiting-list')) {
    panels();
    toast('Added to the waiting list.');
  } else if (url.endsWith('/status')) {
    const [who, version, to, from] = ['who', 'version', 'to', 'from'].map((name) => form.get(name));
    changed({ id: url.split('/')[2], who, version, to, from, html });
  } else {
    const fresh = cardFrom(html);
    if (fresh) booked(fresh, form.get('date'), fresh.matches('.cal-block') ? 'is blocked' : 'is booked');
    else refreshDay();
  }
});
if (new URLSearchParams(location.search).has('new')) $('[data-dialog][aria-keyshortcuts="N"]')?.click();

// The form for a booking: the session sets its usual length, and open times follow what is chosen.
on('change', '[data-booking] :is(select, [name="date"], [name="duration_minutes"])', async (_, field) => {
  const { elements } = field.form;
  const types = elements.session_type;
  // Another practitioner gives other sessions.
  if (field.name === 'practitioner_id') {
    const { discipline } = field.selectedOptions[0].dataset;
    const gives = (option) => !option.dataset.discipline || option.dataset.discipline === discipline;
    const usual = [...types.options].find((option) => gives(option) && !('class' in option.dataset));
    if (usual && !gives(types.selectedOptions[0])) types.value = usual.value;
  }
  if (field === types || field.name === 'practitioner_id') elements.duration_minutes.value = types.selectedOptions[0].dataset.minutes;
  const query = Object.fromEntries(['date', 'practitioner_id', 'duration_minutes'].map((name) => [name, elements[name].value]));
  const response = await send(`/appointments/slots?${new URLSearchParams(query)}`);
  if (response?.ok) $('#slots', field.form)?.replaceWith(parse(await response.text()));
});
on('click', '[data-slot]', (_, button) => {
  button.closest('form').elements.start.value = button.dataset.slot;
  for (const other of $$('[data-slot]')) other.setAttribute('aria-pressed', other === button);
});

// Who is in a class: the dialog stays open and shows itself again.
on('submit', 'form[data-people]', async (event, form) => {
  event.preventDefault();
  const response = await send(form.getAttribute('action'), { method: 'POST', form: new FormData(form, event.submitter) });
  if (response && response.status < 500 && !isProblem(response)) fillDialog(await response.text());
  else toast(`${await explain(response)} Nothing was changed.`, { state: 'bad' });
}, true);

// --- waiting list -------------------------------------------------------------------------------

on('click', '[data-offer]', async (_, button) => {
  const { offer, start, practitioner, who, with: name } = button.dataset;
  button.disabled = true;
  const response = await send(`/waiting-list/${offer}/book`, { method: 'POST', form: { date: cal.dataset.date, start, practitioner_id: practitioner } });
  if (!response?.ok) {
    toast(`${await explain(response)} ${who} was not booked.`, { state: 'bad' });
    return panels();
  }
  booked(cardFrom(await response.text()), cal.dataset.date, `is booked with ${name}`);
});
on('click', '[data-unwait]', async (_, button) => {
  const { unwait, who } = button.dataset;
  const response = await send(`/waiting-list/${unwait}/remove`, { method: 'POST', form: {} });
  panels();
  if (response?.ok) toast(`${who} is off the waiting list.`);
  else toast(await explain(response), { state: 'bad' });
});

// --- live ---------------------------------------------------------------------------------------

/** Fetches one card again and changes just that card. */
async function refresh(id) {
  const response = await send(`/appointments/${id}/card?${new URLSearchParams({ date: cal.dataset.date })}`);
  if (response?.ok) settle(id, cardFrom(await response.text()));
  else if (response?.status === 404) settle(id, null);
}

let panelTimer;
/** Figures, waiting room, waiting list and open time, once for a burst of changes. */
function panels() {
  clearTimeout(panelTimer);
  panelTimer = setTimeout(async () => {
    const response = await send(`/day/panels?${new URLSearchParams({ date: cal.dataset.date })}`);
    if (!response?.ok) return;
    const fresh = parse(await response.text());
    for (const part of $$('[id]', fresh)) {
      const old = part.matches('section, ul') && document.getElementById(part.id);
      if (!old) continue;
      const focused = old.contains(document.activeElement);
      old.replaceWith(part);
      if (focused) $('button', part)?.focus({ preventScroll: true });
    }
    for (const open of $$('[data-open-for]', fresh)) {
      const place = column(open.dataset.openFor);
      if (!place) continue;
      $$('.cal-open', place).forEach((old) => old.remove());
      for (const slot of [...open.children]) {
        setRow(slot, toRow(slot.dataset.start));
          const before = $('.appt, .cal-block', place);
        if (before) before.before(slot);
        else place.append(slot);
      }
    }
  }, 250);
}

/** After a lost link: every card as the server has it now. */
async function refreshDay() {
  const response = await send(`/day?${new URLSearchParams({ date: cal.dataset.date })}`);
  if (!response?.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), 'text/html');
  const found = new Map($$('#cal :is(.appt, .cal-block)', page).map((fresh) => [fresh.dataset.id, fresh]));
  for (const old of $$(':is(.appt, .cal-block)[id]', cal)) if (!found.has(old.dataset.id)) settle(old.dataset.id, null);
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
