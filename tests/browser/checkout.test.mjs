// Checkout: from the visit to a paid invoice.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { base, expectQuiet, go, launch, newVisit, person, signNote, until } from './support.mjs';

let browser;
let desk;
let therapist;
let page;
before(async () => {
  browser = await launch();
  desk = await person(browser, 'reception');
  therapist = await person(browser, 'naledi');
  page = await person(browser, 'billing');
});
after(async () => { await browser?.close(); });

test('a visit is invoiced in one press, its PDF says the same, and payments settle it', async () => {
  const { patient, encounter } = await newVisit(desk, therapist);
  await signNote(therapist, encounter);
  await go(page, '/invoices');
  const row = page.locator(`tr[data-encounter="${encounter.id}"]`);
  await row.getByRole('button', { name: /invoice/i }).click();
  await page.waitForURL(/\/invoices\/[0-9a-f-]{36}$/);
  const heading = await page.locator('.page-h h2').textContent();
  const number = heading.match(/INV-\d{6}/)?.[0];
  assert.ok(number, heading);
  assert.match(heading, /Tax invoice/);
  assert.match(await page.locator('.pb-name').textContent(), new RegExp(patient.family_name, 'i'));
  const [net, vat, total, , balance] = await page.locator('.inv-sum dd').evaluateAll((all) => all.map((one) => Number(one.textContent.replace(/[^\d,]/g, '').replace(',', '.'))));
  assert.equal(Math.round((net + vat) * 100), Math.round(total * 100), 'the totals add up');
  assert.equal(Math.round(vat * 100), Math.round(net * 15), 'VAT is 15 %');
  assert.equal(balance, total);

  const began = Date.now();
  const pdf = await page.request.get(`${page.url()}/pdf`);
  const took = Date.now() - began;
  assert.equal(pdf.status(), 200);
  assert.ok(took < 1000, `the PDF took ${took} ms`);
  assert.match(pdf.headers()['content-disposition'], /^inline; filename="invoice-\d{6}\.pdf"$/);
  const text = execFileSync('pdftotext', ['-layout', '-', '-'], { input: await pdf.body() }).toString().replaceAll('\u00a0', ' ');
  for (const piece of [number, patient.family_name, 'VAT']) assert.ok(text.includes(piece), `the PDF does not say ${piece}:\n${text}`);

  const amount = page.getByLabel('Amount');
  assert.equal(Number((await amount.inputValue()).replace(',', '.')), total, 'the amount is the balance');
  await amount.fill(String(total + 1).replace('.', ','));
  await page.getByRole('button', { name: 'Record payment' }).click();
  await page.locator('#e-amount').waitFor();
  assert.match(await page.locator('#e-amount').textContent(), /more than the balance/);
  await page.getByLabel('Amount').fill('100');
  await page.getByLabel('Cash').check();
  await page.getByRole('button', { name: 'Record payment' }).click();
  await page.getByText('Part paid').waitFor();
  await page.getByRole('button', { name: 'Record payment' }).click();
  await page.locator('.badge', { hasText: /^Paid$/ }).waitFor();
  assert.equal(await page.getByRole('button', { name: 'Record payment' }).count(), 0);
  assert.match(await page.locator('[data-balance]').textContent(), /0,00/);
  expectQuiet(page);
});

test('an invoice is found by its number and by the patient', async () => {
  await go(page, '/invoices');
  const link = page.locator('tbody th[scope="row"] a').first();
  const number = await link.textContent();
  await page.getByLabel('Number or patient').fill(number);
  await page.getByRole('button', { name: 'Find', exact: true }).last().click();
  await until(async () => await page.locator('tbody th[scope="row"] a').count() === 1, 'one is left');
  assert.equal(await page.locator('tbody th[scope="row"] a').textContent(), number);
  await go(page, '/invoices?status=paid');
  assert.deepEqual([...new Set(await page.locator('tbody .badge').allTextContents())], ['Paid']);
  expectQuiet(page);
});

test('the printed invoice shows the invoice and nothing of the page around it', async () => {
  await go(page, '/invoices');
  await page.locator('tbody th[scope="row"] a').first().click();
  await page.waitForURL(new RegExp(`${base}/invoices/`));
  await page.emulateMedia({ media: 'print' });
  for (const hidden of ['.rail', '.page-acts']) assert.equal(await page.locator(hidden).first().isVisible(), false, hidden);
  assert.ok(await page.locator('.inv-sum').isVisible());
  await page.emulateMedia({ media: null });
});
