// What every browser test needs: Chromium, people who are signed in, and the demo's processes.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

export const base = process.env.BASE_URL ?? 'https://localhost:8443';
export const password = 'hadada-demo';
/** How long a step may take before the test fails: generous, because a build may be running beside it. */
export const patience = 15_000;

export const flags = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];

/** A browser with a profile of its own; closed and wiped by `close`. */
export async function launch() {
  const profile = mkdtempSync(join(tmpdir(), 'hadada-browser-'));
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: flags, env: { ...process.env, HOME: profile } });
  const close = browser.close.bind(browser);
  browser.close = async () => {
    await close();
    rmSync(profile, { recursive: true, force: true });
  };
  return browser;
}

const cookies = new Map();

/** A fresh sign-in without the form: one cookie. */
export async function session(browser, name) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  try {
    const reply = await context.request.post(`${base}/login`, { form: { username: name, password, next: '/day' }, maxRedirects: 0 });
    assert.equal(reply.status(), 303, `${name} can't sign in: ${reply.status()} ${await reply.text()}`);
    return (await context.cookies())[0];
  } finally {
    await context.close();
  }
}

/**
 * A window of somebody who is signed in. Errors in the page are collected in `page.faults`; `expectQuiet` checks them.
 * Options: width, height, scheme (light or dark), fresh (a session of its own), touch.
 */
export async function person(browser, name, { width = 1440, height = 900, scheme = 'light', fresh = false, ...more } = {}) {
  const context = await browser.newContext({
    ignoreHTTPSErrors: true, viewport: { width, height }, colorScheme: scheme, locale: 'en-ZA', timezoneId: 'Africa/Johannesburg', reducedMotion: 'reduce', ...more,
  });
  if (name) {
    if (fresh || !cookies.has(name)) cookies.set(name, await session(browser, name));
    await context.addCookies([cookies.get(name)]);
  }
  return window(context);
}

/** One more tab of the same person. */
export async function window(context) {
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  page.faults = [];
  page.on('pageerror', (error) => page.faults.push(`${page.url()}: ${error.message}`));
  page.on('console', (message) => {
    // The service worker needs a certificate the browser trusts, and the demo's is not.
    if (message.type() === 'error' && !/ERR_CERT|SSL certificate|service ?worker|Failed to load resource/i.test(message.text())) page.faults.push(`${page.url()}: ${message.text()}`);
  });
  return page;
}

export function expectQuiet(page) {
  assert.deepEqual(page.faults, [], 'the page reported errors');
}

export async function go(page, path) {
  const reply = await page.goto(base + path, { waitUntil: 'domcontentloaded' });
  assert.ok(reply.status() < 400, `${path} gave ${reply.status()}`);
  await page.waitForLoadState('load');
  return reply;
}

/** Waits until `read` gives a truthy value, and gives that. */
export async function until(read, what, timeout = patience) {
  const end = Date.now() + timeout;
  let last;
  do {
    try {
      last = await read();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => { setTimeout(resolve, 25); });
  } while (Date.now() < end);
  throw new Error(`${what}: not within ${timeout} ms${last instanceof Error ? ` (${last.message})` : ''}`);
}

// --- the API as the same person, for what a test needs but does not test -------------------------

/** JSON from and to the page's own session. */
export async function api(page, method, path, body, status) {
  const reply = await page.request.fetch(base + path, {
    method, headers: { accept: 'application/json' }, ...(body === undefined ? {} : { data: body }), maxRedirects: 0,
  });
  const text = await reply.text();
  if (status !== undefined) assert.equal(reply.status(), status, `${method} ${path}: ${text.slice(0, 500)}`);
  return { status: reply.status(), body: text.startsWith('{') ? JSON.parse(text) : text };
}

/** The practice's wall calendar, whatever this machine's zone. */
export const day = (offset = 0) => new Date(Date.now() + 2 * 3600e3 + offset * 86400e3).toISOString().slice(0, 10);

/** The next weekday at least `offset` days ahead, so that there are working hours. */
export function weekday(offset = 1) {
  let at = offset;
  while ([0, 6].includes(new Date(`${day(at)}T12:00:00Z`).getUTCDay())) at += 1;
  return day(at);
}

/** A day on which there is room: the demo's own bookings, which fill some days wholly, end before. */
export const clearDay = () => weekday(20 + randomInt(0, 40));

/** A fictional South African identity number that fits its rules. */
export function identityNumber(born, male) {
  const digits = `${born.slice(2).replaceAll('-', '')}${String(randomInt(male ? 5000 : 0, male ? 10_000 : 5000)).padStart(4, '0')}08`;
  let sum = 0;
  [...digits].reverse().forEach((digit, at) => {
    const doubled = Number(digit) * (at % 2 === 0 ? 2 : 1);
    sum += Math.floor(doubled / 10) + (doubled % 10);
  });
  return digits + ((10 - (sum % 10)) % 10);
}

/** A name that nobody else has and no search mistakes for another. */
export const name = (beginning) => beginning + Array.from({ length: 4 }, () => 'bdfgklmnprstvz'[randomInt(0, 14)] + 'aeiou'[randomInt(0, 5)]).join('');

/** A new fictional patient, made through the API. */
export async function newPatient(page, beginning = 'Ṱshi') {
  const born = `19${randomInt(60, 99)}-0${randomInt(1, 10)}-${randomInt(10, 28)}`;
  const person = {
    family_name: name(beginning), given_name: name('Ren'), birth_date: born, sex: 'male', phone: `08${randomInt(2, 5)} ${randomInt(100, 1000)} ${randomInt(1000, 10_000)}`,
    identity: { kind: 'sa-id', value: identityNumber(born, true) }, duplicate_confirmed: true,
  };
  return (await api(page, 'POST', '/api/v1/patients', person, 201)).body;
}

export async function practitioner(page, given) {
  const { items } = (await api(page, 'GET', '/api/v1/practitioners', undefined, 200)).body;
  return items.find((one) => one.given_name === given);
}

const types = { Naledi: ['physio-45', 45], Pieter: ['physio-45', 45], Ayesha: ['ot-30', 30], Sipho: ['bio-45', 45] };

/** Books the first free time of somebody from `date` on: a day of its own unless named, so that tests don't queue for one. */
export async function book(page, given, patient, date = weekday(randomInt(20, 200))) {
  const { id } = await practitioner(page, given);
  const [session_type, duration_minutes] = types[given];
  // Within everybody's working hours: 08:00 to 15:00.
  const starts = 26;
  for (let at = 0; at < 20 * starts; at += 1) {
    const hour = 8 + Math.floor((at % starts) / 4);
    const on = weekday(Math.round((Date.parse(date) - Date.parse(day())) / 86400e3) + Math.floor(at / starts));
    const start = `${on}T${String(hour).padStart(2, '0')}:${String((at % starts % 4) * 15).padStart(2, '0')}:00+02:00`;
    const reply = await api(page, 'POST', '/api/v1/appointments', { patient_id: patient.id, practitioner_id: id, start, duration_minutes, session_type, reason: 'Right knee' });
    if (reply.status === 201) return { ...reply.body, date: on, time: start.slice(11, 16) };
    assert.ok([409, 422].includes(reply.status), `booking ${start}: ${reply.status} ${JSON.stringify(reply.body).slice(0, 400)}`);
  }
  throw new Error('there is no free time in the coming days');
}

/** A visit that is open, with a patient of its own: {patient, appointment, encounter}. `desk` may book, `therapist` treats. */
export async function newVisit(desk, therapist, given = 'Naledi') {
  const patient = await newPatient(desk);
  const appointment = await book(desk, given, patient);
  const encounter = (await api(therapist, 'POST', '/api/v1/encounters', { appointment_id: appointment.id })).body;
  assert.ok(encounter.id, `the visit did not open: ${JSON.stringify(encounter)}`);
  return { patient, appointment, encounter };
}

/** Signs a visit's note through the API. */
export async function signNote(therapist, encounter, text = 'Treated as planned.') {
  const note = (await api(therapist, 'GET', `/api/v1/encounters/${encounter.id}/note`, undefined, 200)).body;
  const saved = await api(therapist, 'PUT', `/api/v1/encounters/${encounter.id}/note`,
    { version: note.version, source_text: text, subjective: text, objective: '', assessment: '', plan: '' }, 200);
  await api(therapist, 'POST', `/api/v1/encounters/${encounter.id}/note/sign`, { version: saved.body.version }, 200);
}

// --- the demo's processes ------------------------------------------------------------------------

export function demoFolder() {
  assert.ok(process.env.DEMO_DIR, 'DEMO_DIR is not set: this test kills a process of the demo and must know which demo');
  return process.env.DEMO_DIR;
}

/** Processes of the demo's own program `name`: {pid, uid, gid}. */
export function processes(name) {
  const program = join(demoFolder(), 'bin', name);
  const found = [];
  for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const [first] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      if (first !== program) continue;
      const { uid, gid } = statSync(`/proc/${pid}`);
      found.push({ pid: Number(pid), uid, gid });
    } catch {
      // It ended meanwhile.
    }
  }
  return found;
}

export const NOTE = `Second visit for the right knee, twisted it at five-a-side on 2 November 2026
pain 4/10 at rest, 7/10 going down stairs, was 8/10 last week
swelling comes up after work, settles by morning with ice
takes paracetamol 1 g twice a day, stopped ibuprofen because of heartburn
o/e walks with a slight limp on the right, no crutches
right knee flexion 105 degrees, last week 90, left 140
tender over the medial joint line
treated with patellar mobilisation grade 3 for 5 minutes and quads activation
probably a grade 1 medial collateral sprain, healing well
plan: continue twice a week for four weeks
home programme heel slides and straight leg raises twice a day
next visit Friday`;

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Gives the page another size, and waits until it is laid out and painted so: axe compares boxes, and would mix old ones with new. */
export async function resize(page, width, height = 900) {
  await page.setViewportSize({ width, height });
  await until(() => page.evaluate((wide) => innerWidth === wide, width), `the page is ${width} px wide`);
  await painted(page);
}

const painted = (page) => page.evaluate(async () => {
  await document.fonts.ready;
  for (let frames = 0; frames < 2; frames += 1) await new Promise((next) => { requestAnimationFrame(next); });
});

/** What axe finds wrong with the page, a line each. */
export async function violations(page) {
  await painted(page);
  // As a script of the page's own world, which the security policy does not bind.
  await page.evaluate(axe);
  return page.evaluate(async () => {
    const { violations: found } = await globalThis.axe.run(document, { resultTypes: ['violations'] });
    return found.map((one) => `${one.id} (${one.impact}): ${one.nodes.slice(0, 3).map((node) => `${node.target.join(' ')} ${node.any.concat(node.all)[0]?.message ?? ''}`).join(' | ')}${one.nodes.length > 3 ? ` and ${one.nodes.length - 3} more` : ''}`);
  });
}
