// Every page: no accessibility violation at three widths in light and dark, a light first load, no sideways scrolling.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { api, base, go, launch, newVisit, person, session, signNote, until, violations, weekday } from './support.mjs';

/** Bytes on the wire of a first visit: page, styles, scripts, font, icons. */
const HEAVIEST = 120 * 1024;

let browser;
let pages;
before(async () => {
  browser = await launch();
  const desk = await person(browser, 'reception');
  const therapist = await person(browser, 'naledi');
  const [open, signed] = [await newVisit(desk, therapist), await newVisit(desk, therapist)];
  await signNote(therapist, signed.encounter);
  const invoice = (await api(desk, 'POST', '/api/v1/invoices', { encounter_id: signed.encounter.id }, 201)).body;
  const khumalo = (await api(desk, 'GET', '/api/v1/patients?q=khumalo', undefined, 200)).body.items[0];
  const admin = await person(browser, 'admin');
  await go(admin, '/settings');
  const href = (beginning) => admin.locator(`main a[href^="${beginning}"]:not([href*="/new"])`).first().getAttribute('href');
  const therapist_href = await href('/settings/therapists/');
  const kind = (await href('/settings/session-types/')).split('/').pop();
  pages = [
    [null, '/login'],
    ['reception', '/day'],
    ['reception', `/day?date=${weekday(9)}`],
    ['reception', '/day?view=list'],
    ['reception', '/patients'],
    ['reception', '/patients?q=khumalo'],
    ['reception', '/patients?q=zzzzzzzz'],
    ['reception', '/patients/new'],
    ['reception', `/patients/${khumalo.id}`],
    ['reception', `/patients/${khumalo.id}/edit`],
    ['reception', '/invoices'],
    ['reception', '/invoices?q=zzzzzzzz'],
    ['reception', `/invoices/${invoice.id}`],
    ['naledi', '/notes'],
    ['naledi', `/encounters/${open.encounter.id}`],
    ['naledi', `/encounters/${signed.encounter.id}`],
    ['naledi', `/encounters/${signed.encounter.id}/print`],
    ['admin', `/patients/${khumalo.id}/audit`],
    ['admin', `/patients/${khumalo.id}/erase`],
    ['admin', '/admin'],
    ['reception', '/status'],
    [null, '/trust'],
    ['admin', '/admin/audit'],
    ['reception', '/settings'],
    ['admin', '/settings'],
    ['admin', `/settings?done=${kind}`],
    ['admin', '/settings/rooms/new'],
    ['admin', '/settings/therapists/new'],
    ['admin', therapist_href],
    ['admin', '/settings/session-types/new'],
    ['admin', `/settings/session-types/${kind}`],
    ['admin', '/settings/accounts/new'],
    ['reception', '/nowhere'],
  ];
});
after(async () => { await browser?.close(); });

const visit = (page, path) => (path === '/nowhere' ? page.goto(base + path) : go(page, path));

for (const scheme of ['light', 'dark']) {
  for (const width of [1440, 1024, 390]) {
    test(`no accessibility violation on any page, ${width} px, ${scheme}`, { timeout: 600_000 }, async () => {
      const wrong = [];
      const people = new Map();
      for (const [name, path] of pages) {
        if (!people.has(name)) people.set(name, await person(browser, name, { width, height: 900, scheme }));
        const page = people.get(name);
        try {
          await visit(page, path);
          for (const one of await violations(page)) wrong.push(`${path} ${one}`);
        } catch (error) {
          wrong.push(`${path} ${error.message}`);
        }
        // A page that is not there is an error to the console too.
        if (path !== '/nowhere') wrong.push(...page.faults);
        page.faults.length = 0;
      }
      for (const page of people.values()) await page.context().close();
      assert.deepEqual(wrong, []);
    });
  }
}

test('dialogs and menus have no violation either', async () => {
  const page = await person(browser, 'reception');
  const wrong = [];
  const check = async (what) => { for (const one of await violations(page)) wrong.push(`${what}: ${one}`); };
  await go(page, `/day?date=${weekday(9)}`);
  await page.keyboard.press('n');
  await page.locator('#dialog form').waitFor();
  await check('new appointment');
  const shut = async () => {
    await page.keyboard.press('Escape');
    await until(() => page.evaluate(() => !document.querySelector('dialog[open]')), 'Escape closes it');
  };
  await shut();
  await page.keyboard.press('/');
  await page.locator('#find input').fill('khum');
  await page.locator('#find-list [data-id]').first().waitFor();
  await check('find');
  await shut();
  await page.locator('.appt-a').first().click();
  await check('menu of an appointment');
  await page.keyboard.press('Escape');
  await page.locator('.rail-avatar').click();
  await check('account');
  assert.deepEqual(wrong, []);
  await page.context().close();
});

test('the first load of each page is at most 120 KB on the wire', { timeout: 300_000 }, async () => {
  const heavy = [];
  let heaviest = ['', 0];
  const cookies = new Map();
  for (const [name, path] of pages.filter(([, one]) => one !== '/nowhere')) {
    // A window of its own has an empty cache.
    const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1440, height: 900 }, serviceWorkers: 'block' });
    if (name) {
      if (!cookies.has(name)) cookies.set(name, await session(browser, name));
      await context.addCookies([cookies.get(name)]);
    }
    const page = await context.newPage();
    const wire = await context.newCDPSession(page);
    await wire.send('Network.enable');
    let bytes = 0;
    wire.on('Network.loadingFinished', (event) => { bytes += event.encodedDataLength; });
    await page.goto(base + path, { waitUntil: 'load' });
    await page.evaluate(() => document.fonts.ready);
    if (bytes > heaviest[1]) heaviest = [path, bytes];
    if (bytes > HEAVIEST || bytes < 5000) heavy.push(`${path}: ${bytes} bytes`);
    await context.close();
  }
  console.log(`heaviest: ${heaviest[0]}, ${(heaviest[1] / 1024).toFixed(1)} KB`);
  assert.deepEqual(heavy, []);
});

test('nothing scrolls sideways at 320 px, the diary excepted', { timeout: 300_000 }, async () => {
  const wide = [];
  const people = new Map();
  for (const [name, path] of pages.filter(([, one]) => !one.startsWith('/day') && one !== '/nowhere')) {
    if (!people.has(name)) people.set(name, await person(browser, name, { width: 320, height: 700 }));
    const page = people.get(name);
    try {
      await visit(page, path);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (over > 0) wide.push(`${path}: ${over} px too wide`);
    } catch (error) {
      wide.push(error.message);
    }
  }
  for (const page of people.values()) await page.context().close();
  assert.deepEqual(wide, []);
});

test('text can be twice as large without losing anything', async () => {
  // 200 % zoom of a 1280 px window is a window of 640 px.
  const page = await person(browser, 'reception', { width: 640, height: 450 });
  for (const path of ['/patients', '/invoices', '/patients/new']) {
    await go(page, path);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), path);
    assert.ok(await page.locator('h1').first().isVisible(), path);
  }
  await page.context().close();
});
