// Nothing typed is ever lost: not by a lost link, an ended session, a second tab or a killed server.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { openSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { api, base, demoFolder, expectQuiet, go, launch, newVisit, person, processes, session, until, window } from './support.mjs';

let browser;
let desk;
/** Somebody who reads the note on the server while the page is signed out. */
let reader;
let again = null;
before(async () => {
  browser = await launch();
  desk = await person(browser, 'reception');
  reader = await person(browser, 'naledi');
});
after(async () => {
  await browser?.close();
  again?.kill('SIGTERM');
});

const state = (page, wanted, timeout) => until(async () => await page.locator('#saved').getAttribute('data-state') === wanted, `the note is ${wanted}`, timeout);
const onServer = async (page, encounter) => (await api(page, 'GET', `/api/v1/encounters/${encounter.id}/note`, undefined, 200)).body;

async function open(options) {
  const page = await person(browser, 'naledi', options);
  const { encounter } = await newVisit(desk, page);
  await go(page, `/encounters/${encounter.id}`);
  return { page, encounter };
}

test('what is typed reaches the server by itself within two seconds of the last key', async () => {
  const { page, encounter } = await open();
  await page.locator('#f-subjective').pressSequentially('Left shoulder 3/10 at rest.');
  await until(async () => (await onServer(page, encounter)).subjective === 'Left shoulder 3/10 at rest.', 'it is on the server', 2000);
  await state(page, 'saved');
  assert.match(await page.locator('#saved').textContent(), /Saved \d\d:\d\d/);
  expectQuiet(page);
  await page.context().close();
});

test('a lost link: the text is kept on the device, encrypted, and sent when the link is back', async () => {
  const { page, encounter } = await open();
  await page.context().setOffline(true);
  await page.locator('#f-plan').fill('Twice a week for four weeks, kept offline.');
  await state(page, 'held');
  const stored = await page.evaluate(() => Object.entries(localStorage).filter(([name]) => name.startsWith('hadada.kept.')).map(([, value]) => value).join());
  assert.ok(stored.length > 20, 'a copy is on the device');
  assert.ok(!stored.includes('four weeks'), 'the copy is not readable');
  await page.context().setOffline(false);
  await state(page, 'saved', 40_000);
  assert.equal((await onServer(page, encounter)).plan, 'Twice a week for four weeks, kept offline.');
  assert.deepEqual(await page.evaluate(() => Object.keys(localStorage).filter((name) => name.startsWith('hadada.kept.'))), [], 'the copy is wiped once the server has it');
  await page.context().close();
});

test('a crashed browser: the copy is there when the visit is opened again', async () => {
  const { page, encounter } = await open();
  await page.context().setOffline(true);
  await page.locator('#f-objective').fill('Typed just before the crash.');
  await state(page, 'held');
  const context = page.context();
  await page.close({ runBeforeUnload: false });
  await context.setOffline(false);
  const later = await window(context);
  await go(later, `/encounters/${encounter.id}`);
  await until(async () => await later.locator('#f-objective').inputValue() === 'Typed just before the crash.', 'the text is back');
  await until(async () => (await onServer(later, encounter)).objective === 'Typed just before the crash.', 'and on the server');
  await context.close();
});

test('signing out sends what is typed first; what can’t be sent stays sealed on the device, and so does the theme', async () => {
  const { page, encounter } = await open({ fresh: true });
  const signOut = async () => {
    await page.locator('.rail-avatar').click();
    await page.locator('[data-signout] button').click();
  };
  const copies = () => page.evaluate(() => Object.keys(localStorage).filter((name) => name.startsWith('hadada.kept.')).length);
  await page.locator('.rail-avatar').click();
  await page.locator('[data-set="theme"][value="dark"]').click();
  await page.keyboard.press('Escape');
  await page.locator('#f-plan').fill('Typed a moment before signing out.');
  await signOut();
  await page.waitForURL(/\/login/);
  assert.equal((await onServer(reader, encounter)).plan, 'Typed a moment before signing out.');
  assert.equal(await copies(), 0, 'what was sent leaves no copy');
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark', 'the theme belongs to the device');

  await page.context().addCookies([await session(browser, 'naledi')]);
  await go(page, `/encounters/${encounter.id}`);
  await page.route('**/note', (route) => (route.request().method() === 'PUT' ? route.abort() : route.continue()));
  await page.locator('#f-plan').fill('Typed while the note could not be saved.');
  await state(page, 'held');
  await signOut();
  const dialog = page.locator('#dialog[open]');
  assert.match(await dialog.textContent(), /stays on this device, encrypted/);
  await dialog.getByRole('button', { name: 'Sign out' }).click();
  await page.waitForURL(/\/login/);
  assert.equal(await copies(), 1, 'what was not sent is still there');
  assert.ok(!(await page.evaluate(() => JSON.stringify(localStorage))).includes('could not be saved'), 'and not readable');
  await page.unroute('**/note');
  await page.context().addCookies([await session(browser, 'naledi')]);
  await go(page, `/encounters/${encounter.id}`);
  await until(async () => (await onServer(page, encounter)).plan === 'Typed while the note could not be saved.', 'it comes back and is sent', 40_000);
  await until(async () => await copies() === 0, 'and then the copy goes');
  await page.context().close();
});

test('an ended session: the text is kept, the page says so, and it is sent after signing in again', async () => {
  const { page, encounter } = await open({ fresh: true });
  await page.context().clearCookies();
  await page.locator('#f-assessment').fill('Written after the session ended.');
  await page.locator('#note-signed-out').waitFor();
  assert.match(await page.locator('#note-signed-out').textContent(), /signed out/i);
  assert.equal(await page.locator('#f-assessment').inputValue(), 'Written after the session ended.');
  await page.context().addCookies([await session(browser, 'naledi')]);
  await state(page, 'saved', 30_000);
  assert.equal((await onServer(page, encounter)).assessment, 'Written after the session ended.');
  await page.context().close();
});

test('two tabs: one shows what the other saved, and nobody overwrites in silence', async () => {
  const { page, encounter } = await open();
  const second = await window(page.context());
  await go(second, `/encounters/${encounter.id}`);
  await page.locator('#f-subjective').fill('From the first tab.');
  await until(async () => await second.locator('#f-subjective').inputValue() === 'From the first tab.', 'the second tab takes it over');

  // Both change the same section with the link of one cut: a person decides.
  const other = await person(browser, 'naledi');
  await go(other, `/encounters/${encounter.id}`);
  await other.context().setOffline(true);
  await other.locator('#f-plan').fill('Plan of the other device.');
  await state(other, 'held');
  await page.locator('#f-plan').fill('Plan of the first device.');
  await state(page, 'saved');
  await other.context().setOffline(false);
  await other.locator('.conflict').waitFor({ timeout: 40_000 });
  const panel = await other.locator('.conflict').textContent();
  for (const side of ['Plan of the other device.', 'Plan of the first device.']) assert.ok(panel.includes(side), `${side} is not shown`);
  await other.getByRole('button', { name: 'Save what I chose' }).click();
  await until(async () => (await onServer(page, encounter)).plan === 'Plan of the other device.', 'the choice is saved');
  await other.context().close();
  await page.context().close();
});

test('kill -9 of the server: what was saved is there, what was typed meanwhile is kept and sent', { timeout: 120_000 }, async () => {
  const dir = demoFolder();
  const { page, encounter } = await open();
  await page.locator('#f-subjective').fill('Saved before the server died.');
  await state(page, 'saved');
  const [server] = processes('hadada');
  assert.ok(server, 'no server process is found');
  process.kill(server.pid, 'SIGKILL');
  await page.locator('#f-objective').fill('Typed while the server was dead.');
  await state(page, 'held');
  assert.equal(await page.locator('#f-objective').inputValue(), 'Typed while the server was dead.');

  const log = openSync(join(dir, 'log', 'web.log'), 'a');
  again = spawn(join(dir, 'bin', 'hadada'), ['--config', join(dir, 'hadada.toml'), 'serve'], { uid: server.uid, gid: server.gid, stdio: ['ignore', log, log] });
  await until(async () => (await page.request.get(`${base}/readyz`)).ok(), 'the server is back', 30_000);
  await state(page, 'saved', 40_000);
  const note = await onServer(page, encounter);
  assert.deepEqual([note.subjective, note.objective], ['Saved before the server died.', 'Typed while the server was dead.']);
  await page.context().close();
});
