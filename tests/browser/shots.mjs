// Takes the README's two pictures of a running demo: BASE_URL=… node tests/browser/shots.mjs
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NOTE, day, go, launch, newVisit, person, until } from './support.mjs';

const folder = join(dirname(fileURLToPath(import.meta.url)), 'shots');
mkdirSync(folder, { recursive: true });
const browser = await launch();
try {
  const desk = await person(browser, 'reception');
  await go(desk, `/day?date=${process.env.SHOT_DAY ?? day()}`);
  await desk.evaluate(() => document.fonts.ready);
  await desk.screenshot({ path: join(folder, 'day.png') });

  const therapist = await person(browser, 'naledi');
  const { encounter } = await newVisit(desk, therapist);
  await go(therapist, `/encounters/${encounter.id}`);
  await therapist.locator('#f-source_text').fill(NOTE);
  await therapist.locator('.note-foot [data-draft]').click();
  await until(async () => /Draft again/.test(await therapist.locator('.note-foot [data-draft]').textContent()), 'the draft ends', 300_000);
  const ready = therapist.locator('#draft .sent[data-state="ready"]');
  if (await ready.count()) await ready.first().locator('[data-sent="use"]').click();
  if (await ready.count()) await ready.first().hover();
  await therapist.screenshot({ path: join(folder, 'visit.png') });
  console.log(`wrote ${folder}/day.png and visit.png`);
} finally {
  await browser.close();
}
