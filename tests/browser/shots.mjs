// Takes the README's two pictures of a running demo: BASE_URL=… node tests/browser/shots.mjs
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NOTE, api, book, day, go, launch, person, until, weekday } from './support.mjs';

const folder = join(dirname(fileURLToPath(import.meta.url)), 'shots');
mkdirSync(folder, { recursive: true });
const browser = await launch();
try {
  const desk = await person(browser, 'reception');
  await go(desk, `/day?date=${process.env.SHOT_DAY ?? day()}`);
  await desk.evaluate(() => document.fonts.ready);
  await desk.screenshot({ path: join(folder, 'day.png') });

  const therapist = await person(browser, 'naledi');
  // Somebody with a history, so that the trend and the timeline show.
  const khumalo = (await api(desk, 'GET', '/api/v1/patients?q=khumalo', undefined, 200)).body.items[0];
  const appointment = await book(desk, 'Naledi', khumalo, weekday(1));
  const encounter = (await api(therapist, 'POST', '/api/v1/encounters', { appointment_id: appointment.id })).body;
  await go(therapist, `/encounters/${encounter.id}`);
  await therapist.locator('#f-source_text').fill(NOTE);
  await therapist.locator('.note-foot [data-draft]').click();
  await until(async () => /Draft again/.test(await therapist.locator('.note-foot [data-draft]').textContent()), 'the draft ends', 300_000);
  await therapist.evaluate(() => scrollTo(0, 0));
  await therapist.locator('#draft .sent[data-state="ready"]').first().hover();
  await therapist.screenshot({ path: join(folder, 'visit.png') });
  console.log(`wrote ${folder}/day.png and visit.png`);
} finally {
  await browser.close();
}
