// The main job without a mouse: every step by keys, with the focus always somewhere one can see.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { clearDay, expectQuiet, go, launch, newPatient, newVisit, person, until } from './support.mjs';

let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser?.close(); });

/** What has the focus, in words, and whether it can be seen to have it. */
const focus = (page) => page.evaluate(() => {
  const element = document.activeElement;
  // The ring may be on a frame around a field.
  const ringed = (one) => {
    const style = getComputedStyle(one);
    return (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2) || style.boxShadow !== 'none';
  };
  const box = element.getBoundingClientRect();
  return {
    tag: element.tagName, id: element.id, text: (element.getAttribute('aria-label') ?? element.textContent).trim().slice(0, 60),
    // Inside a native control (a date field's parts) the browser draws the ring, unless the control is made invisible.
    ring: ringed(element) || ringed(element.parentElement ?? element) || (!element.matches(':focus') && getComputedStyle(element).opacity === '1'),
    inside: box.width > 0 && box.bottom > 0 && box.top < innerHeight,
  };
});

/** Presses Tab until something matches; fails when it comes round without. */
async function tabTo(page, matches, most = 200) {
  for (let at = 0; at < most; at += 1) {
    await page.keyboard.press('Tab');
    const here = await focus(page);
    if (await page.evaluate((selector) => document.activeElement.matches(selector), matches)) {
      assert.ok(here.inside, `${matches} has the focus outside the window`);
      return here;
    }
  }
  throw new Error(`Tab does not reach ${matches}`);
}

test('the first Tab offers to skip to the content, and every stop shows a ring', async () => {
  const page = await person(browser, 'reception');
  const dim = [];
  for (const path of ['/day', '/patients', '/patients/new', '/invoices']) {
    await go(page, path);
    await page.keyboard.press('Tab');
    assert.match((await focus(page)).text, /Skip to main content/, path);
    const seen = new Set();
    for (let at = 0; at < 40; at += 1) {
      await page.keyboard.press('Tab');
      const here = await focus(page);
      if (here.tag === 'BODY') break;
      if (!here.ring) dim.push(`${path}: ${here.tag} "${here.text}"`);
      seen.add(`${here.tag} ${here.id} ${here.text}`);
    }
    assert.ok(seen.size > 5, `${path}: only ${seen.size} stops`);
  }
  assert.deepEqual(dim, [], 'stops without a focus ring');
  expectQuiet(page);
  await page.context().close();
});

test('signs in, books and moves, opens a visit, signs, invoices and takes the money, all by keys', { timeout: 300_000 }, async () => {
  const desk = await person(browser, 'reception');
  const patient = await newPatient(desk, 'Netshi');
  const date = clearDay();
  await go(desk, `/day?date=${date}`);
  await desk.keyboard.press('n');
  await until(() => desk.evaluate(() => document.activeElement.id === 'f-patient_id'), 'the dialog opens on its first field');
  await desk.keyboard.type(patient.family_name);
  await desk.locator('.pick-list [role="option"]').first().waitFor();
  await desk.keyboard.press('Enter');
  assert.match(await desk.locator('#f-patient_id').inputValue(), new RegExp(patient.family_name, 'i'));
  await tabTo(desk, '#slots button');
  await desk.keyboard.press('Enter');
  await tabTo(desk, '#dialog .btn-primary');
  await desk.keyboard.press('Enter');
  const booked = desk.locator(`.appt[data-who*="${patient.family_name}"]`);
  await booked.waitFor();
  assert.ok(await booked.evaluate((one) => one.contains(document.activeElement)), 'the focus is on the new booking');
  await desk.keyboard.press('Enter');
  await until(() => desk.evaluate(() => document.activeElement.closest('.menu') !== null), 'its menu opens with the focus inside');
  await desk.keyboard.press('Escape');
  await until(() => booked.evaluate((one) => one.contains(document.activeElement) && !document.activeElement.closest('.menu')), 'Escape gives the focus back');
  expectQuiet(desk);

  const therapist = await person(browser, 'naledi');
  const visit = await newVisit(desk, therapist);
  await go(therapist, `/encounters/${visit.encounter.id}`);
  await tabTo(therapist, '#f-source_text');
  await therapist.keyboard.type('pain 4/10, knee flexion 105 degrees');
  await tabTo(therapist, '#f-subjective');
  await therapist.keyboard.type('Pain 4/10.');
  await until(async () => await therapist.locator('#saved').getAttribute('data-state') === 'saved', 'the note is saved');
  await therapist.keyboard.press('Control+Enter');
  await until(() => therapist.evaluate(() => document.activeElement.closest('#dialog')?.open), 'the question has the focus');
  await therapist.keyboard.press('Enter');
  await therapist.locator('#visit[data-state="signed"]').waitFor();
  expectQuiet(therapist);

  const billing = await person(browser, 'billing');
  await go(billing, '/invoices');
  await tabTo(billing, `tr[data-encounter="${visit.encounter.id}"] button`);
  await billing.keyboard.press('Enter');
  await billing.waitForURL(/\/invoices\/[0-9a-f-]{36}$/);
  await tabTo(billing, '#f-amount');
  await tabTo(billing, 'form .btn-primary');
  await billing.keyboard.press('Enter');
  await billing.locator('.badge', { hasText: /^Paid$/ }).waitFor();
  expectQuiet(billing);
  for (const page of [desk, therapist, billing]) await page.context().close();
});

test('single keys do nothing while one types, and can be switched off', async () => {
  const page = await person(browser, 'reception');
  await go(page, '/patients');
  await page.locator('#f-q').pressSequentially('nt/?m');
  assert.equal(await page.locator('#f-q').inputValue(), 'nt/?m');
  assert.equal(new URL(page.url()).pathname, '/patients');
  await page.evaluate(() => { localStorage.setItem('keys', 'off'); document.activeElement.blur(); });
  await page.keyboard.press('/');
  assert.equal(await page.locator('#find').evaluate((d) => d.open), false);
  await page.keyboard.press('Control+k');
  assert.equal(await page.locator('#find').evaluate((d) => d.open), true, 'Ctrl+K is no single key');
  await page.context().close();
});
