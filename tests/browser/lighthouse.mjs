// Lighthouse's desktop scores of the main pages of a running demo; at least 95 in each, or exit 1.
// BASE_URL=… node tests/browser/lighthouse.mjs [RESULT.json]
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import lighthouse, { desktopConfig } from 'lighthouse';
import { chromium } from 'playwright-core';
import { api, base, flags, launch, newVisit, person, session } from './support.mjs';

const LEAST = 95;
const categories = ['performance', 'accessibility', 'best-practices', 'seo'];

const setting = await launch();
const desk = await person(setting, 'reception');
const therapist = await person(setting, 'naledi');
const { encounter, patient } = await newVisit(desk, therapist);
const cookies = { reception: await session(setting, 'reception'), naledi: await session(setting, 'naledi'), admin: await session(setting, 'admin') };
const invoices = (await api(desk, 'GET', '/api/v1/invoices?limit=1', undefined, 200)).body.items;
await setting.close();

const pages = [
  [null, '/login'], ['reception', '/day'], ['reception', '/patients'], ['reception', '/patients/new'], ['reception', `/patients/${patient.id}`],
  ['naledi', `/encounters/${encounter.id}`], ['naledi', '/notes'], ['reception', '/invoices'],
  ...invoices.map((one) => ['reception', `/invoices/${one.id}`]), ['admin', '/admin'],
];

const port = await new Promise((resolve) => {
  const probe = createServer().listen(0, '127.0.0.1', () => {
    const { port: free } = probe.address();
    probe.close(() => resolve(free));
  });
});
const profile = mkdtempSync(join(tmpdir(), 'hadada-lighthouse-'));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, ignoreHTTPSErrors: true,
  args: [...flags, `--remote-debugging-port=${port}`, '--ignore-certificate-errors'],
});
const results = [];
try {
  for (const [name, path] of pages) {
    const extraHeaders = name ? { cookie: `${cookies[name].name}=${cookies[name].value}` } : {};
    let lhr;
    let runs = 0;
    // Speed is measured on a machine that may be busy with something else: up to three runs, the fastest counts.
    for (; runs < 3 && !(lhr?.categories.performance.score * 100 >= LEAST); runs += 1) {
      const again = (await lighthouse(base + path, { port, output: 'json', logLevel: 'error', onlyCategories: categories, extraHeaders }, desktopConfig)).lhr;
      if (!lhr || again.categories.performance.score > lhr.categories.performance.score) lhr = again;
    }
    const scores = Object.fromEntries(categories.map((one) => [one, Math.round((lhr.categories[one]?.score ?? 0) * 100)]));
    const shown = path.replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, '…');
    const low = categories.filter((one) => scores[one] < LEAST);
    const why = low.flatMap((one) => lhr.categories[one].auditRefs.filter(({ id, weight }) => weight > 0 && (lhr.audits[id].score ?? 1) < 0.9).map(({ id }) => id));
    results.push({ path: shown, ...scores, runs, ...(why.length ? { why } : {}) });
    console.log(`${shown.padEnd(18)} ${categories.map((one) => `${one} ${scores[one]}`).join('  ')}${why.length ? `  (${why.join(', ')})` : ''}`);
  }
} finally {
  await browser.close();
  rmSync(profile, { recursive: true, force: true });
}
if (process.argv[2]) writeFileSync(process.argv[2], `${JSON.stringify({ least: LEAST, pages: results }, null, 2)}\n`);
process.exit(results.every((one) => categories.every((name) => one[name] >= LEAST)) ? 0 : 1);
