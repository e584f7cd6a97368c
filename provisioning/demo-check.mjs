// Does the main job as users over HTTPS against a running demo and checks what came back: rows, sentence sources, the
// PDF's text, the audit events. Exits 0 only if all of it worked. Run by `provisioning/demo --check`.
import { execFileSync } from 'node:child_process';
import assert from 'node:assert/strict';
import { randomInt, randomUUID } from 'node:crypto';

const base = process.env.BASE_URL;
const dir = process.env.DEMO_DIR;
const began = Date.now();
let step = 0;

function ok(words) {
  step += 1;
  console.log(`  ${String(step).padStart(2)}. ${words} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
}

class Browser {
  constructor(name) {
    this.name = name;
  }

  async signIn() {
    const reply = await fetch(`${base}/login`, {
      method: 'POST', redirect: 'manual',
      body: new URLSearchParams({ username: this.name, password: 'hadada-demo', next: '/day' }),
    });
    assert.equal(reply.status, 303, `${this.name} can't sign in`);
    this.cookie = reply.headers.getSetCookie()[0].split(';')[0];
    return this;
  }

  async ask(method, path, body, headers = {}) {
    const init = { method, redirect: 'manual', headers: { cookie: this.cookie, ...headers } };
    if (body instanceof URLSearchParams) init.body = body;
    else if (body !== undefined) {
      init.body = JSON.stringify(body);
      init.headers['content-type'] = 'application/json';
      init.headers.accept ??= 'application/json';
    }
    return fetch(base + path, init);
  }

  // Expects a status and gives the body, as JSON where it is JSON.
  async want(status, method, path, body, headers) {
    const reply = await this.ask(method, path, body, headers);
    const text = await reply.text();
    assert.equal(reply.status, status, `${this.name}: ${method} ${path} gave ${reply.status}, not ${status}: ${text.slice(0, 600)}`);
    const kind = reply.headers.get('content-type') ?? '';
    return kind.includes('json') ? JSON.parse(text) : { text, location: reply.headers.get('location') };
  }
}

// A fictional identity number that fits the rules: birth date, sequence (5000 and above: male), citizen, 8, Luhn digit.
function identityNumber(birthDate, male) {
  const digits = birthDate.slice(2).replaceAll('-', '') + String(randomInt(male ? 5000 : 0, male ? 10000 : 5000)).padStart(4, '0') + '08';
  let sum = 0;
  [...digits].reverse().forEach((digit, i) => {
    const d = Number(digit) * (i % 2 === 0 ? 2 : 1);
    sum += Math.floor(d / 10) + (d % 10);
  });
  return digits + ((10 - (sum % 10)) % 10);
}

// The practice's wall clock, whatever this machine's zone.
const wall = (days, hour, minute) => {
  const day = new Date(Date.now() + 2 * 3600e3 + days * 86400e3).toISOString().slice(0, 10);
  return { day, start: `${day}T${String(hour).padStart(2, '0')}:${String(minute).padStart(2, '0')}:00+02:00` };
};

const NOTE = `Second visit for the right knee, twisted it at five-a-side on 2 November 2026
pain 4/10 at rest, 7/10 going down stairs, was 8/10 last week
swelling comes up after work, settles by morning with ice
no locking, no giving way
sleeping through since Thursday
takes paracetamol 1 g twice a day, stopped ibuprofen because of heartburn
works as a warehouse picker, on light duty until 4 December
wants to be back at football by February
no numbness or tingling in the leg
o/e walks with a slight limp on the right, no crutches
right knee flexion 105 degrees, last week 90, left 140
extension lacks 5 degrees on the right
effusion mild, sweep test 1+
tender over the medial joint line
Lachman negative, valgus stress at 30 degrees mildly painful but firm end feel
McMurray equivocal
quads strength right 4/5, left 5/5
single leg stance right 12 s, left 40 s
six minute walk 420 m, no stops
treated with patellar mobilisation grade 3 for 5 minutes and quads activation with biofeedback
static bike 10 min level 2, no increase in pain
heel slides 3x10, straight leg raise 3x10, mini squats to 60 degrees 3x8
taped the knee with kinesio tape, skin checked, no reaction
pain after treatment 3/10
probably a grade 1 medial collateral sprain, healing well, meniscus still to be watched
flexion up 15 degrees since the first visit
strength and balance still behind the left side
explained the findings and the stages of healing, he understands and agrees
plan: continue twice a week for four weeks
home programme heel slides and straight leg raises twice a day, ice 15 minutes after work
progress to step-ups 15 cm next visit if the swelling stays down
no running or pivoting yet
refer for MRI if it locks or the effusion is not gone in three weeks
next visit Friday, re-test six minute walk on 18 December`;

async function main() {
  console.log('The main job, as its users:');
  const reception = await new Browser('reception').signIn();
  const day = await reception.want(200, 'GET', '/day');
  for (const name of ['Naledi Mokoena', 'Pieter van Zyl', 'Ayesha Patel', 'Sipho Dlamini']) {
    assert.ok(day.text.includes(name), `the diary has no column for ${name}`);
  }
  assert.ok((day.text.match(/<article/g) ?? []).length >= 15, 'the diary of today is empty');
  ok('reception sees today’s diary, a column for each of the four practitioners');

  const found = await reception.want(200, 'GET', '/patients/find?q=khumlo');
  assert.ok(found.text.includes('Thandiwe'), 'a misspelt name does not find Thandiwe Khumalo');
  ok('a patient is found by a few letters, misspelt');

  const born = `19${randomInt(60, 99)}-0${randomInt(1, 10)}-${randomInt(10, 28)}`;
  const identity = identityNumber(born, true);
  const wrong = identity.slice(0, 12) + ((Number(identity[12]) + 1) % 10);
  const person = {
    family_name: 'Ṱshivhase', given_name: `Rendani ${randomUUID().slice(0, 4)}`, birth_date: born, sex: 'male', phone: '082 555 0' + randomInt(100, 999),
    identity: { kind: 'sa-id', value: wrong },
  };
  const refused = await reception.want(422, 'POST', '/api/v1/patients', person);
  assert.ok(refused.errors.some((e) => e.field.startsWith('identity')), 'the wrong check digit is not named');
  person.identity.value = identity;
  const patient = await reception.want(201, 'POST', '/api/v1/patients', person);
  assert.equal(patient.family_name, 'Ṱshivhase');
  const again = await reception.want(409, 'POST', '/api/v1/patients', person);
  assert.ok(again.detail, 'a duplicate is refused without a word');
  ok(`a patient is added, file ${patient.file_number}; a wrong identity number and a duplicate are refused`);

  const practitioners = (await reception.want(200, 'GET', '/api/v1/practitioners')).items;
  const naledi = practitioners.find((p) => p.given_name === 'Naledi' || p.name?.includes('Naledi'));
  const events = await fetch(`${base}/events`, { headers: { cookie: (await new Browser('admin').signIn()).cookie } });
  const reader = events.body.getReader();
  const booking = { patient_id: patient.id, practitioner_id: naledi.id, duration_minutes: 45, session_type: 'physio-45', reason: 'Right knee' };
  let appointment;
  for (let i = 0; i < 200 && !appointment; i += 1) {
    const { start } = wall(1 + Math.floor(i / 36), 7 + Math.floor((i % 36) / 4), (i % 4) * 15);
    const reply = await reception.ask('POST', '/api/v1/appointments', { ...booking, start });
    if (reply.status === 201) appointment = await reply.json();
    else assert.ok([409, 422].includes(reply.status), await reply.text());
  }
  assert.ok(appointment, 'no free slot in the coming week');
  const taken = await reception.want(409, 'POST', '/api/v1/appointments', { ...booking, start: appointment.start });
  assert.ok(taken.detail.length > 10);
  ok(`a session is booked for ${appointment.start.slice(0, 16)}; the same slot again is refused: “${taken.detail}”`);

  const heard = await Promise.race([
    (async () => {
      let text = '';
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return false;
        text += Buffer.from(value).toString();
        if (text.includes(appointment.id)) return true;
      }
    })(),
    new Promise((resolve) => setTimeout(() => resolve(false), 3000)),
  ]);
  assert.ok(heard, 'another open page did not hear of the booking');
  await reader.cancel();
  ok('another open page heard of it');

  const view = await reception.want(200, 'GET', `/api/v1/appointments/${appointment.id}`);
  const date = appointment.start.slice(0, 10);
  await reception.want(200, 'POST', `/appointments/${appointment.id}/status`, new URLSearchParams({ to: 'confirmed', version: view.version, date }), { 'hx-request': 'true' });
  ok('it is confirmed');

  const therapist = await new Browser('naledi').signIn();
  const encounter = await therapist.want(201, 'POST', '/api/v1/encounters', { appointment_id: appointment.id });
  const visit = await therapist.want(200, 'GET', `/encounters/${encounter.id}`, undefined, { accept: 'text/html' });
  assert.ok(visit.text.includes('Allergies not recorded'), 'the banner does not say that allergies are not recorded');
  ok('the therapist opens the visit; the banner says that allergies are not recorded');

  const saved = await therapist.want(200, 'PUT', `/api/v1/encounters/${encounter.id}/note`, { version: 0, source_text: NOTE });
  const draftBegan = Date.now();
  const draft = await therapist.want(200, 'POST', `/api/v1/encounters/${encounter.id}/draft`, { source_text: NOTE });
  const lines = NOTE.split('\n').length;
  assert.ok(draft.sentences.length >= 12, `the draft has only ${draft.sentences.length} sentences`);
  const cited = new Set();
  const statements = draft.statements.length;
  for (const sentence of draft.sentences) {
    assert.ok(sentence.text.trim(), 'an empty sentence');
    assert.match(sentence.section, /^(subjective|objective|assessment|plan|[SOAP])$/i);
    for (const source of sentence.sources) {
      assert.ok(source >= 1 && source <= statements, `a sentence cites statement ${source} of ${statements}`);
      cited.add(source);
    }
    if (sentence.sources.length === 0) assert.ok(sentence.flags.length > 0, 'a sentence without a source is not flagged');
  }
  const unused = new Set(draft.unused.map((u) => u.statement ?? u.number ?? u));
  for (let n = 1; n <= statements; n += 1) assert.ok(cited.has(n) || unused.has(n), `statement ${n} is neither cited nor listed as unused`);
  assert.ok(statements >= lines, `${lines} lines became ${statements} statements`);
  const sections = new Set(draft.sentences.map((s) => s.section[0].toUpperCase()));
  assert.ok(['S', 'O', 'P'].every((s) => sections.has(s)), `the draft has only the sections ${[...sections].join(' ')}`);
  ok(`${NOTE.split(/\s+/).length} words are drafted in ${((Date.now() - draftBegan) / 1000).toFixed(1)} s: ${draft.sentences.length} sentences, `
    + `${draft.sentences.filter((s) => s.flags.length > 0).length} flagged, ${cited.size} of ${statements} statements cited, ${unused.size} listed as unused`);

  const note = { version: saved.version, source_text: NOTE, subjective: '', objective: '', assessment: '', plan: '' };
  for (const sentence of draft.sentences.filter((s) => s.flags.length === 0)) {
    const field = { S: 'subjective', O: 'objective', A: 'assessment', P: 'plan' }[sentence.section[0].toUpperCase()];
    note[field] += (note[field] ? ' ' : '') + sentence.text;
  }
  const final = await therapist.want(200, 'PUT', `/api/v1/encounters/${encounter.id}/note`, note);
  await therapist.want(200, 'POST', `/api/v1/encounters/${encounter.id}/note/sign`, { version: final.version });
  await therapist.want(409, 'PUT', `/api/v1/encounters/${encounter.id}/note`, { ...note, version: final.version, plan: 'changed' });
  const read = await therapist.want(200, 'GET', `/api/v1/encounters/${encounter.id}/note`);
  assert.equal(read.plan, note.plan, 'the signed note is not what was signed');
  ok('the sourced sentences are used, the note is signed, and a signed note refuses a change');

  const checkout = await new Browser('billing').signIn();
  const invoice = await checkout.want(201, 'POST', '/api/v1/invoices', { encounter_id: encounter.id });
  const twice = await checkout.ask('POST', '/api/v1/invoices', { encounter_id: encounter.id });
  assert.ok([200, 201, 409].includes(twice.status));
  const pdfBegan = Date.now();
  const pdf = await fetch(`${base}/invoices/${invoice.id}/pdf`, { headers: { cookie: checkout.cookie } });
  const bytes = Buffer.from(await pdf.arrayBuffer());
  const took = Date.now() - pdfBegan;
  assert.equal(bytes.subarray(0, 5).toString(), '%PDF-');
  const text = execFileSync('pdftotext', ['-layout', '-', '-'], { input: bytes }).toString().replaceAll('\u00a0', ' ');
  const number = invoice.number_text ?? `INV-${String(invoice.number).padStart(6, '0')}`;
  for (const piece of [number, 'Ṱshivhase', 'Rosebank', 'VAT']) assert.ok(text.toLowerCase().includes(piece.toLowerCase()), `the PDF does not say ${piece}:\n${text}`);
  assert.ok(took < 1000, `the PDF took ${took} ms`);
  ok(`invoice ${number} over R ${invoice.total} is made from the visit; its PDF is read back (${took} ms)`);

  const paid = await checkout.want(303, 'POST', `/invoices/${invoice.id}/payments`, new URLSearchParams({ amount: String(invoice.total), method: 'card', reference: 'demo check', idempotency_key: randomUUID() }));
  assert.ok(paid.location);
  const settled = await checkout.want(200, 'GET', `/api/v1/invoices/${invoice.id}`);
  assert.equal(Number(settled.balance), 0, 'the balance is not nothing');
  ok('the payment is recorded and nothing is owed');

  const admin = await new Browser('admin').signIn();
  const audit = await admin.want(200, 'GET', `/patients/${patient.id}/audit`, undefined, { accept: 'text/html' });
  for (const who of ['Naledi Mokoena', 'Added']) assert.ok(audit.text.includes(who), `the audit page does not show ${who}`);
  const state = await admin.want(200, 'GET', '/admin', undefined, { accept: 'text/html' });
  assert.match(state.text, /smollm2/i, 'the state page does not name the model');
  ok('the admin sees who looked at the patient, and the state of the box');

  const stranger = await new Browser('other').signIn();
  for (const path of [`/patients/${patient.id}`, `/api/v1/patients/${patient.id}`, `/encounters/${encounter.id}`, `/invoices/${invoice.id}`, `/invoices/${invoice.id}/pdf`]) {
    const reply = await stranger.ask('GET', path, undefined, { accept: 'text/html' });
    assert.ok([403, 404].includes(reply.status), `another practice got ${reply.status} for ${path}`);
  }
  ok('another practice finds none of it');

  await new Promise((resolve) => setTimeout(resolve, 1500));
  const proof = execFileSync(`${dir}/bin/hadadactl`, ['audit', 'verify', '--dir', dir]).toString().trim();
  ok(`the audit log verifies offline: ${proof.split('\n').at(-1)}`);
}

main().catch((error) => {
  console.error(`\nThe check failed after step ${step}: ${error.message}`);
  process.exit(1);
});
