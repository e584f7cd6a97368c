// The admin: who looked at whom, how the box is; and what another practice sees: nothing.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { api, base, expectQuiet, go, launch, newVisit, person, signNote, until } from './support.mjs';

let browser;
let desk;
let therapist;
let page;
before(async () => {
  browser = await launch();
  desk = await person(browser, 'reception');
  therapist = await person(browser, 'naledi');
  page = await person(browser, 'admin');
});
after(async () => { await browser?.close(); });

test('sees who looked at a patient, and that the log is sealed', async () => {
  const { patient, encounter } = await newVisit(desk, therapist);
  await go(therapist, `/encounters/${encounter.id}`);
  await go(page, `/patients/${patient.id}/audit`);
  const text = await page.locator('table').innerText();
  for (const who of ['Naledi Mokoena', 'Zinhle Maseko']) assert.ok(text.includes(who), `${who} is not in\n${text}`);
  assert.match(text, /Added/);
  await until(async () => {
    await page.reload();
    return (await page.locator('tbody tr').last().innerText()).includes('Seal');
  }, 'the oldest line is sealed', 5000);
  expectQuiet(page);
});

test('sees the state of the box: database, model, device, queue, disk', async () => {
  await go(page, '/admin');
  const text = await page.locator('main').innerText();
  for (const piece of [/database/i, /smollm2/i, /cpu|processor/i, /queue|waiting/i, /disk/i]) assert.match(text, piece);
  expectQuiet(page);
});

test('nobody else may: reception reads no notes and no audit', async () => {
  const { patient, encounter } = await newVisit(desk, therapist);
  for (const path of [`/patients/${patient.id}/audit`, '/admin', `/encounters/${encounter.id}`]) {
    const reply = await desk.request.get(base + path);
    assert.equal(reply.status(), 403, path);
  }
});

test('another practice finds nothing of it, neither by address nor by name', async () => {
  const { patient, encounter } = await newVisit(desk, therapist);
  await signNote(therapist, encounter);
  const invoice = (await api(desk, 'POST', '/api/v1/invoices', { encounter_id: encounter.id }, 201)).body;
  const other = await person(browser, 'other');
  for (const path of [`/patients/${patient.id}`, `/api/v1/patients/${patient.id}`, `/invoices/${invoice.id}`, `/invoices/${invoice.id}/pdf`, `/api/v1/invoices/${invoice.id}`]) {
    assert.equal((await api(other, 'GET', path)).status, 404, path);
    assert.equal((await api(page, 'GET', path)).status, 200, `control: the owner gets ${path}`);
  }
  const found = (await api(other, 'GET', `/api/v1/patients?q=${encodeURIComponent(patient.given_name)}`, undefined, 200)).body;
  assert.deepEqual(found.items, []);
  await other.context().close();
});
