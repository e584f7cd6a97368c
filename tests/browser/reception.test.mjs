// Reception: the day at a glance, finding and adding people, booking and moving, and seeing what others do.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { after, before, test } from 'node:test';
import { api, base, book, clearDay, day, expectQuiet, go, identityNumber, launch, name, newPatient, password, person, practitioner, until } from './support.mjs';

let browser;
let page;
before(async () => {
  browser = await launch();
  page = await person(browser, 'reception');
});
after(async () => { await browser?.close(); });

/** Opens the diary on a day on which little is booked yet, beyond the demo’s own bookings. */
async function quietDay() {
  const date = clearDay();
  await go(page, `/day?date=${date}`);
  return date;
}
const card = (id, on = page) => on.locator(`#appt-${id}`);

/** The nearest time, in rows of five minutes, to which a card can move in its own column. */
const freeRow = (id) => page.evaluate((appointment) => {
  const held = document.getElementById(`appt-${appointment}`);
  const place = (element) => ['r', 's'].map((letter) => Number(element.className.match(new RegExp(`\\b${letter}(\\d+)\\b`))?.[1]));
  const [row, span] = place(held);
  const taken = [...held.parentElement.querySelectorAll('.appt, .cal-block, .cal-off')].filter((e) => e !== held && e.dataset.state !== 'cancelled').map(place);
  const free = (at) => at > 0 && at + span < 130 && taken.every(([r, s]) => at >= r + (s || 200) || at + span <= r);
  for (let by = 3; by < 100; by += 3) {
    for (const at of [row + by, row - by]) if (free(at)) return { row, to: at };
  }
  return null;
}, id);
const rowHeight = () => page.evaluate(() => document.querySelector('.cal-times').getBoundingClientRect().height / (Number(document.querySelector('#cal').dataset.hours ?? 11) * 12));

test('signs in by the form, and a wrong password says so without saying which', async () => {
  const fresh = await person(browser, null);
  await go(fresh, '/patients');
  assert.match(fresh.url(), /\/login\?next=\/patients/);
  await fresh.getByLabel('User name').fill('reception');
  await fresh.getByLabel('Password').fill('wrong');
  await fresh.getByRole('button', { name: 'Sign in' }).click();
  await fresh.getByText('The user name or the password is wrong').first().waitFor();
  await fresh.getByLabel('Password').fill(password);
  await fresh.keyboard.press('Enter');
  await fresh.waitForURL(`${base}/patients`);
  expectQuiet(fresh);
  await fresh.context().close();
});

test('sees the day: a column for each practitioner, states by icon and word, the lists beside it', async () => {
  await go(page, '/day');
  const names = await page.locator('.cal-name').allTextContents();
  for (const name of ['Naledi Mokoena', 'Pieter van Zyl', 'Ayesha Patel', 'Sipho Dlamini']) assert.ok(names.includes(name), `${name} has no column in ${names}`);
  const cards = await page.locator('.appt').evaluateAll((all) => all.map((one) => ({
    state: one.dataset.state, icon: Boolean(one.querySelector('.appt-meta svg')), word: one.querySelector('.appt-meta > span')?.textContent.trim(),
  })));
  assert.ok(cards.length >= 15, `only ${cards.length} appointments today`);
  assert.ok(cards.every((one) => one.state && one.icon && one.word), 'an appointment shows its state by colour alone');
  for (const id of ['waiting', 'waiting-list', 'attention', 'stats']) await page.locator(`#${id}`).waitFor();
  assert.equal(await page.locator('#now').count(), 1, 'today has a now line');
  expectQuiet(page);
});

test('finds a patient by a few letters from anywhere', async () => {
  await go(page, '/day');
  await page.keyboard.press('/');
  const find = page.locator('#find input');
  await find.fill('khum');
  await page.locator('#find-list [data-id]').first().waitFor();
  const first = page.locator('#find-list [role="option"]').first();
  assert.match(await first.textContent(), /Khumalo/i);
  await find.press('Enter');
  await page.waitForURL(/\/patients\/[0-9a-f-]{36}$/);
  assert.match(await page.locator('.pb-name').textContent(), /Khumalo/i);
  expectQuiet(page);
});

test('adds a patient: the ID number is checked, and a duplicate is shown', async () => {
  const born = `19${randomInt(60, 99)}-0${randomInt(1, 10)}-${randomInt(10, 28)}`;
  const identity = identityNumber(born, true);
  const wrong = identity.slice(0, 12) + ((Number(identity[12]) + 1) % 10);
  const family = name('Ṋe');
  const fill = async (number) => {
    await page.locator('#f-family_name').fill(family);
    await page.locator('#f-given_name').fill('Mpho');
    await page.locator('#f-birth_date').fill(born);
    await page.locator('#f-sex').selectOption('male');
    await page.locator('#f-identity_kind').selectOption('sa-id');
    await page.locator('#f-identity_value').fill(number);
    await page.locator('#patient-form .btn-primary').click();
  };
  await go(page, '/patients/new');
  await fill(wrong);
  const error = page.locator('#e-identity_value');
  await error.waitFor();
  assert.ok((await error.textContent()).trim().length > 20, 'the sentence beside the field says what to do');
  assert.equal(await page.locator('#f-family_name').inputValue(), family, 'what was typed is kept');
  assert.equal(await page.evaluate(() => document.activeElement.hasAttribute('data-errors')), true, 'the summary has the focus');

  await page.locator('#f-identity_value').fill(identity);
  await page.locator('#patient-form .btn-primary').click();
  await page.waitForURL(/\/patients\/[0-9a-f-]{36}$/);
  assert.match(await page.locator('.pb-name').textContent(), new RegExp(family, 'i'));
  assert.ok(!(await page.locator('.pb').textContent()).includes(identity), 'the number is masked until asked for');

  await go(page, '/patients/new');
  await fill(identity);
  const duplicates = page.locator('#duplicates');
  await duplicates.waitFor();
  assert.match(await duplicates.textContent(), new RegExp(family, 'i'));
  await duplicates.getByRole('link').first().click();
  await page.waitForURL(/\/patients\/[0-9a-f-]{36}$/);
  expectQuiet(page);
});

test('books into a free time from the diary', async () => {
  const patient = await newPatient(page, 'Mu');
  await quietDay();
  // Long enough for a session of three quarters of an hour.
  const spans = await page.locator('.cal-open[data-start]').evaluateAll((all) => all.map((one) => Number(one.className.match(/\bs(\d+)\b/)[1])));
  const at = spans.findIndex((span) => span >= 9);
  assert.ok(at >= 0, 'no open time is offered on a quiet day');
  const slot = page.locator('.cal-open[data-start]').nth(at);
  await slot.click();
  const dialog = page.locator('#dialog');
  // A long open time is booked where it was clicked.
  const start = await dialog.locator('#f-start').inputValue();
  assert.ok(start >= await slot.getAttribute('data-start'));
  await dialog.getByRole('combobox', { name: 'Patient' }).fill(patient.family_name);
  await dialog.locator('.pick-list [role="option"]').first().click();
  await dialog.getByLabel('Reason').fill('Left shoulder');
  await dialog.getByRole('button', { name: 'Book', exact: true }).click();
  const booked = page.locator(`.appt[data-who*="${patient.family_name}"]`);
  await booked.waitFor();
  assert.equal(await booked.getAttribute('data-start'), start);
  assert.equal(await dialog.evaluate((d) => d.open), false);
  await page.reload();
  await booked.waitFor();
  expectQuiet(page);
});

test('drags an appointment to another time and takes it back', async () => {
  const patient = await newPatient(page);
  const made = await book(page, 'Pieter', patient, clearDay());
  await go(page, `/day?date=${made.date}`);
  await card(made.id).scrollIntoViewIfNeeded();
  const place = await freeRow(made.id);
  assert.ok(place, 'the day has no other free time');
  const box = await card(made.id).boundingBox();
  const by = (place.to - place.row) * await rowHeight();
  const [x, y] = [box.x + box.width / 2, box.y + Math.min(box.height / 2, 12)];
  await page.mouse.move(x, y);
  await page.mouse.down();
  await page.mouse.move(x, y + by / 2, { steps: 5 });
  await page.mouse.move(x, y + by, { steps: 5 });
  assert.equal(await page.locator('.appt[data-move="live"]').count(), 1, 'a ghost shows where it would go');
  await page.mouse.up();
  await page.locator('.toast').getByText('moved to').waitFor();
  const start = await card(made.id).getAttribute('data-start');
  assert.notEqual(start, made.time);
  const onServer = async () => (await (await page.request.get(`${base}/appointments/${made.id}/card?date=${made.date}`)).text()).match(/data-start="([\d:]+)"/)[1];
  assert.equal(await onServer(), start, 'the server has it where it was put');
  await page.locator('.toast button', { hasText: 'Undo' }).click();
  await until(async () => await onServer() === made.time, 'undo reaches the server');
  await until(async () => await card(made.id).getAttribute('data-start') === made.time, 'undo puts it back');
  expectQuiet(page);
});

test('moves an appointment by keyboard, and Escape leaves it', async () => {
  const patient = await newPatient(page);
  const made = await book(page, 'Naledi', patient, clearDay());
  await go(page, `/day?date=${made.date}`);
  const held = card(made.id).locator('.appt-a');
  await held.focus();
  await page.keyboard.press('m');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Escape');
  assert.equal(await card(made.id).getAttribute('data-start'), made.time);
  const { row, to } = await freeRow(made.id);
  await held.focus();
  await page.keyboard.press('m');
  for (let at = 0; at < Math.abs(to - row) / 3; at += 1) await page.keyboard.press(to > row ? 'ArrowDown' : 'ArrowUp');
  await page.keyboard.press('Enter');
  await page.locator('.toast').getByText('moved to').waitFor();
  await until(async () => await card(made.id).getAttribute('data-start') !== made.time, 'it moved');
  assert.ok(await card(made.id).evaluate((one) => one.contains(document.activeElement)), 'the focus stays with what was moved');
  expectQuiet(page);
});

test('a taken time is refused by the page, and by the database when the page can not know', async () => {
  const [first, second] = [await newPatient(page), await newPatient(page)];
  const made = await book(page, 'Sipho', first, clearDay());
  const { id } = await practitioner(page, 'Sipho');
  await go(page, `/day?date=${made.date}`);
  await page.keyboard.press('n');
  const dialog = page.locator('#dialog');
  await dialog.getByRole('combobox', { name: 'Patient' }).fill(second.family_name);
  await dialog.locator('.pick-list [role="option"]').first().click();
  await dialog.getByLabel('With').selectOption(id);
  await dialog.locator('#f-start').fill(made.time);
  await dialog.getByRole('button', { name: 'Book', exact: true }).click();
  await dialog.locator('[data-errors]').waitFor();
  assert.equal(await dialog.evaluate((d) => d.open), true, 'what was typed stays');
  const clash = await api(page, 'POST', '/api/v1/appointments', {
    patient_id: second.id, practitioner_id: id, start: `${made.date}T${made.time}:00+02:00`, duration_minutes: 45, session_type: 'bio-45',
  });
  assert.equal(clash.status, 409);
});

test('marks somebody arrived, and a second browser shows it within a second', async () => {
  const other = await person(browser, 'naledi');
  const patient = await newPatient(page);
  const made = await book(page, 'Naledi', patient, clearDay());
  await go(page, `/day?date=${made.date}`);
  await go(other, `/day?date=${made.date}`);
  await card(made.id, other).waitFor();
  await until(() => other.evaluate(() => document.querySelector('[data-link]')?.dataset.state === 'ok'), 'the live link is up');
  const before = await card(made.id, other).getAttribute('data-status');
  await card(made.id).locator('.appt-a').click();
  await page.locator(`#menu-${made.id} [data-to="confirmed"], #menu-${made.id} [data-to="arrived"]`).first().click();
  const began = Date.now();
  await until(async () => await card(made.id, other).getAttribute('data-status') !== before, 'the other browser shows it', 1000);
  assert.ok(Date.now() - began <= 1000);
  // A booking made here appears there too.
  const next = await book(page, 'Naledi', await newPatient(page), made.date);
  if (next.date === made.date) await until(() => card(next.id, other).count(), 'the new booking appears there', 1000);
  expectQuiet(page);
  expectQuiet(other);
  await other.context().close();
});

test('arrived people stand in the waiting room', async () => {
  await go(page, '/day');
  const due = page.locator('.appt:is([data-status="booked"], [data-status="confirmed"]):has([data-to="arrived"])').first();
  if (await due.count() === 0) {
    // Late in the day everybody has come; then somebody must be in one of the later states.
    assert.ok(await page.locator('.appt:is([data-status="arrived"], [data-status="in-session"], [data-status="completed"])').count() > 0);
    return;
  }
  const id = await due.getAttribute('data-id');
  const who = await due.getAttribute('data-who');
  await due.locator('.appt-a').click();
  await page.locator(`#menu-${id} [data-to="arrived"]`).click();
  await until(async () => await card(id).getAttribute('data-status') === 'arrived', 'the card says arrived');
  const family = who.split(' ').at(-1);
  await page.locator('#waiting').getByText(family).first().waitFor();
  expectQuiet(page);
});

test('the day before and after are one step away', async () => {
  await go(page, '/day');
  await page.locator('.bar-nav a').last().click();
  await page.waitForURL(/\/day\?date=/);
  assert.notEqual(new URL(page.url()).searchParams.get('date'), day());
  expectQuiet(page);
});
