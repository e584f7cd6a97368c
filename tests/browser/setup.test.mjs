// The first-run wizard in a browser, over databases of its own beside the demo's: from the code on the console to the first
// sign-in, with the keyboard, at three widths, without an accessibility violation. The test answers as root would.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launch, resize, until, violations, weekday, window } from './support.mjs';

const demo = process.env.DEMO_DIR;
const groups = 'AAAA-BBBB-CCCC-DDDD-EEEE-FFFF-GGGG-HHHH-JJJJ-KKKK-MMMM-NNNN-PPPP-QQQQ'.split('-');
const sql = (statement) => execFileSync('psql', ['-qh', join(demo, 'run'), '-U', 'postgres', '-d', 'postgres', '-c', statement]);
const name = `wizard_${process.pid}`;
let browser;
let server;
let folder;
let base;

const port = () => new Promise((found) => {
  const socket = createServer().listen(0, '127.0.0.1', () => {
    const { port: free } = socket.address();
    socket.close(() => found(free));
  });
});

before(async () => {
  assert.ok(demo, 'DEMO_DIR is not set: run this through tests/run browser');
  folder = mkdtempSync(join(tmpdir(), 'hadada-wizard-'));
  for (const part of ['setup', 'requests', 'facts', 'audit']) mkdirSync(join(folder, part));
  writeFileSync(join(folder, 'setup/code.sha256'), createHash('sha256').update('7KQ29F4MZT3A').digest('hex'));
  writeFileSync(join(folder, 'setup/recovery'), groups.join('-'));
  writeFileSync(join(folder, 'setup/disks.json'), JSON.stringify([{ id: 'wd-1', label: 'USB disk WD Elements', mount: null, file_system: 'ext4', bytes: 2e12, free: 1.9e12, removable: true }]));
  sql(`CREATE DATABASE ${name} OWNER hadada_owner`);
  sql(`CREATE DATABASE ${name}_keys OWNER hadada_owner`);
  const free = await port();
  base = `https://localhost:${free}`;
  const own = {
    listen: `127.0.0.1:${free}`, setup_dir: join(folder, 'setup'), requests_dir: join(folder, 'requests'), facts_dir: join(folder, 'facts'),
    erasure_register: join(folder, 'audit/erasures.jsonl'), audit_head: join(folder, 'audit/head.json'), admin_socket: join(folder, 'admin.sock'),
    records_database: name, keys_database: `${name}_keys`,
  };
  const kept = readFileSync(join(demo, 'hadada.toml'), 'utf8').split('\n').filter((line) => line && !(line.split(' =')[0] in own) && !line.startsWith('demo'));
  const config = join(folder, 'hadada.toml');
  writeFileSync(config, [...kept, ...Object.entries(own).map(([key, value]) => `${key} = ${JSON.stringify(value)}`)].join('\n'));
  const program = join(demo, 'bin/hadada');
  execFileSync(program, ['--config', config, 'migrate'], { stdio: 'ignore' });
  server = spawn(program, ['--config', config, 'serve'], { stdio: 'ignore' });
  browser = await launch();
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  await until(async () => (await context.request.get(`${base}/healthz`).catch(() => null))?.ok(), 'the server answers', 60_000);
  await context.close();
});

after(async () => {
  await browser?.close();
  if (server) {
    const gone = new Promise((ended) => server.once('exit', ended));
    server.kill();
    await gone;
  }
  sql(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
  sql(`DROP DATABASE IF EXISTS ${name}_keys WITH (FORCE)`);
  rmSync(folder, { recursive: true, force: true });
});

/** Answers the newest request as root would. */
function answer(state, more = {}) {
  const file = readdirSync(join(folder, 'requests')).filter((one) => one.endsWith('.json') && !one.endsWith('.answer.json')).sort().pop();
  const { id, ask } = JSON.parse(readFileSync(join(folder, 'requests', file)));
  writeFileSync(join(folder, 'requests', `${id}.answer.json`), JSON.stringify({ format: 1, id, at: new Date().toISOString(), state, said: 'Writing a test file.', ...more }));
  return ask;
}

/** A window of nobody yet. */
const visitor = async () => window(await browser.newContext({ ignoreHTTPSErrors: true, locale: 'en-ZA', reducedMotion: 'reduce' }));

/** Looks at the page as it is, at three widths. */
async function look(page, what) {
  for (const width of [1440, 1024, 390]) {
    await resize(page, width);
    assert.deepEqual(await violations(page), [], `${what}, ${width} px`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
    assert.ok(!wide, `${what} scrolls sideways at ${width} px`);
    if (process.env.SHOTS) await page.screenshot({ path: join(process.env.SHOTS, `setup-${what}-${width}.png`), fullPage: true });
  }
}

test('a new box is set up with the keyboard, left, come back to and opened', { timeout: 300_000 }, async () => {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, locale: 'en-ZA', reducedMotion: 'reduce' });
  const page = await window(context);
  const heading = (words) => until(async () => (await page.locator('h1').textContent()).includes(words), `the page ${words}`);
  await page.goto(`${base}/day`);
  assert.equal(new URL(page.url()).pathname, '/setup');
  await look(page, 'code');
  await page.keyboard.type('wrong');
  await page.keyboard.press('Enter');
  await page.waitForLoadState('load');
  assert.match(await page.locator('#e-code').textContent(), /not the code/);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'f-code', 'the wrong field has the focus');
  await page.locator('#f-code').fill('');
  await page.keyboard.type('7kq2-9f4m-zt3a');
  await page.keyboard.press('Enter');

  await heading('The practice');
  await page.locator('#f-name').fill('Rosebank Rehab');
  await page.locator('#f-bhf_number').fill('12');
  await page.keyboard.press('Enter');
  await page.waitForSelector('#e-bhf_number');
  await look(page, 'practice-wrong');
  assert.equal(await page.locator('#f-name').inputValue(), 'Rosebank Rehab', 'what was typed is kept');
  await page.locator('#f-bhf_number').fill('0123456');
  await page.keyboard.press('Enter');

  await heading('first admin');
  await look(page, 'admin');
  for (const [field, value] of [['display_name', 'Anneke Vermeulen'], ['username', 'anneke'], ['password', 'ghoofkar reent sambreel'], ['password_again', 'ghoofkar reent sambreel']]) await page.locator(`#f-${field}`).fill(value);
  await page.keyboard.press('Enter');

  await heading('Certificate');
  await page.locator('[value=given]').check();
  assert.ok(await page.locator('#f-chain').isVisible() && !(await page.locator('#f-hosts').isVisible()), 'only what is chosen shows');
  await look(page, 'certificate-given');
  await page.locator('[value=own]').check();
  await look(page, 'certificate');
  await page.locator('#f-hosts').press('Enter');
  await page.waitForSelector('#progress');
  assert.deepEqual(answer('good', { said: 'The certificate is in place.' }), { kind: 'certificate', source: 'own', hosts: ['localhost'] });
  await page.locator('#progress a', { hasText: 'Next' }).click();

  await heading('Where backups go');
  await page.locator('[value=smb]').check();
  await look(page, 'backup-smb');
  await page.locator('[value=disk]').check();
  await page.locator('#f-disk').selectOption('wd-1');
  await page.locator('#f-disk_folder').press('Enter');
  await page.waitForSelector('#progress');
  answer('working', { percent: 40 });
  await until(async () => (await page.locator('#progress progress').getAttribute('value')) === '40', 'the bar moves');
  await look(page, 'backup-working');
  answer('bad', { said: 'The disk is full.', do: 'Choose another one.' });
  await page.waitForSelector('#progress [data-state=bad]');
  await look(page, 'backup-bad');
  await page.locator('#f-disk').selectOption('wd-1');
  await page.locator('button', { hasText: 'Try it' }).click();
  await page.waitForSelector('#progress progress');
  answer('good', { said: 'Backups go to this disk.' });
  await page.locator('#progress a', { hasText: 'Next' }).click();

  await heading('Recovery key');
  await look(page, 'recovery');
  await page.emulateMedia({ media: 'print' });
  assert.ok(await page.locator('.keysheet').isVisible(), 'the sheet prints');
  assert.ok(!(await page.locator('.trail').isVisible()) && !(await page.locator('button', { hasText: 'Print' }).isVisible()), 'and nothing else');
  if (process.env.SHOTS) await page.screenshot({ path: join(process.env.SHOTS, 'setup-recovery-print.png'), fullPage: true });
  await page.emulateMedia({ media: 'screen' });
  await page.locator('button', { hasText: 'It is on paper' }).click();
  await page.waitForSelector('#f-first');
  await look(page, 'recovery-confirm');
  assert.ok(!(await page.content()).includes('GGGG'), 'the key is not shown while it is asked for');
  for (const field of ['first', 'second']) {
    const number = Number((await page.locator(`label[for=f-${field}]`).textContent()).replace(/\D/g, ''));
    await page.locator(`#f-${field}`).fill(groups[number - 1].toLowerCase());
  }
  await page.keyboard.press('Enter');

  await heading('Open the practice');
  await look(page, 'finish');
  await page.locator('main button', { hasText: 'Open the practice' }).click();
  await page.waitForSelector('#f-username');
  assert.match(await page.locator('main').textContent(), /The practice is open/);
  await page.locator('#f-username').fill('anneke');
  await page.locator('#f-password').fill('ghoofkar reent sambreel');
  await page.keyboard.press('Enter');
  await page.waitForSelector('.cal, .empty, .day');
  assert.equal((await page.goto(`${base}/setup`)).status(), 404, 'the wizard is gone');
  assert.deepEqual(page.faults.filter((fault) => !fault.includes('/setup')), []);
});

test('the practice that the wizard made is filled with the keyboard until its first booking', { timeout: 300_000 }, async () => {
  const page = await visitor();
  const signIn = async (who, name, password) => {
    await who.goto(`${base}/login`);
    await who.locator('#f-username').fill(name);
    await who.locator('#f-password').fill(password);
    await who.keyboard.press('Enter');
  };
  const fill = async (who, fields) => { for (const [field, value] of Object.entries(fields)) await who.locator(`#f-${field}`).fill(value); };
  const said = (words) => until(async () => (await page.locator('[role=status]').allTextContents()).join(' ').includes(words), words);
  await signIn(page, 'anneke', 'ghoofkar reent sambreel');
  await page.locator('.start').waitFor();
  assert.match(await page.locator('.start').textContent(), /0 of 3/);
  assert.equal(await page.getByRole('button', { name: 'New appointment' }).count(), 0, 'nothing can be booked yet');
  await look(page, 'day-new');

  // A room: the first field has the focus, Enter sends.
  await page.getByRole('link', { name: 'Add a room' }).focus();
  await page.keyboard.press('Enter');
  await page.waitForURL('**/settings/rooms/new');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'f-name');
  await page.keyboard.press('Enter');
  await page.locator('#e-name').waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.className), 'errors', 'what is wrong has the focus');
  await page.locator('#f-name').fill('Room 1');
  await page.keyboard.press('Enter');
  await said('Saved: Room 1');
  await look(page, 'settings-new');

  // A therapist with a log-in; the only room is chosen already.
  await page.locator('.start').getByRole('link', { name: 'Add a therapist' }).click();
  await fill(page, { given_name: 'Lerato', family_name: 'Dlamini', hpcsa_number: '12', monday: '8-13, 14-17', username: 'lerato' });
  await page.locator('#f-discipline').selectOption({ label: 'Physiotherapist' });
  assert.notEqual(await page.locator('#f-room_id').inputValue(), '');
  await page.locator('#f-username').press('Enter');
  await page.locator('#e-hpcsa_number').waitFor();
  await look(page, 'therapist-wrong');
  assert.equal(await page.locator('#f-monday').inputValue(), '8-13, 14-17', 'what was typed is kept');
  await page.locator('#f-hpcsa_number').fill('pt 0012345');
  await page.keyboard.press('Enter');
  const password = (await page.locator('.onetime-p').textContent()).trim();
  assert.match(password, /^\w{4}-\w{4}-\w{4}$/);
  await look(page, 'one-time');
  await page.getByRole('link', { name: 'I have handed it over' }).click();
  await said('Lerato Dlamini');

  await page.locator('.start').getByRole('link', { name: 'Add a session type' }).click();
  await fill(page, { name: 'Physiotherapy session', price: '650' });
  await page.keyboard.press('Enter');
  await said('Saved: Physiotherapy session');
  assert.equal(await page.locator('.start').count(), 0, 'the list is done');
  await look(page, 'settings');

  // Ended by mistake, and back with one key.
  await page.getByRole('link', { name: 'Physiotherapy session' }).click();
  await page.getByRole('button', { name: 'End session type' }).click();
  await page.locator('dialog[open]').getByRole('button', { name: 'End session type' }).click();
  await said('Physiotherapy session is no longer in use');
  await look(page, 'settings-ended');
  await page.locator('.notice').getByRole('button', { name: 'Undo' }).press('Enter');
  await said('Saved: Physiotherapy session');

  // The therapist chooses a password of their own, adds a patient and books.
  const lerato = await visitor();
  await signIn(lerato, 'lerato', password);
  await lerato.locator('#f-new_password').waitFor();
  await look(lerato, 'choose-password');
  await fill(lerato, { new_password: 'vier woorde vir lerato', new_password_again: 'vier woorde vir lerato' });
  await lerato.keyboard.press('Enter');
  await lerato.locator('.cal-col').waitFor();
  await look(lerato, 'day-first');
  const person = { family_name: 'Khumalo', given_name: 'Thandiwe', birth_date: '1992-03-14', sex: 'female', identity: { kind: 'none' } };
  const added = await lerato.request.post(`${base}/api/v1/patients`, { data: person });
  assert.equal(added.status(), 201, await added.text());
  await resize(lerato, 1440);
  await lerato.goto(`${base}/day?date=${weekday(1)}`);
  await lerato.keyboard.press('n');
  const dialog = lerato.locator('#dialog');
  await dialog.getByRole('combobox', { name: 'Patient' }).fill('khumalo');
  await dialog.locator('.pick-list [role="option"]').first().click();
  await dialog.locator('#f-start').fill('10:00');
  await dialog.getByRole('button', { name: 'Book', exact: true }).click();
  await lerato.locator('.appt', { hasText: 'Khumalo' }).waitFor();
  assert.match(await lerato.locator('.cal-th').textContent(), /Lerato Dlamini.*Room 1/s);
  await look(lerato, 'day-booked');
  assert.deepEqual([...page.faults, ...lerato.faults], []);
});
