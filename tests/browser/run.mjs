// Runs the browser tests one file after the other, says what each test did, and ends with `N passed, N failed`.
import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { run } from 'node:test';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
// The last one kills the server.
const all = ['reception', 'therapist', 'checkout', 'admin', 'keyboard', 'pages', 'setup', 'autosave'];
const wanted = process.argv.slice(2).map((name) => basename(name).replace(/\.test\.mjs$/, ''));
const files = (wanted.length ? wanted : all).map((name) => join(here, `${name}.test.mjs`));
const missing = files.find((file) => !existsSync(file));
if (missing) {
  console.error(`there is no ${missing}; there are: ${all.join(' ')}`);
  process.exit(2);
}

let passed = 0;
let failed = 0;
const failures = [];
for (const file of files) {
  console.log(`\n${basename(file, '.test.mjs')}`);
  for await (const { type, data } of run({ files: [file], concurrency: false, timeout: 600_000 })) {
    // A file is a test too; what counts is inside.
    const inside = data?.nesting > 0 || (data?.name && data.name !== file && !data.name.endsWith('.test.mjs'));
    if (type === 'test:pass' && inside && data.details?.type !== 'suite') {
      passed += 1;
      console.log(`  ok    ${data.name} (${(data.details.duration_ms / 1000).toFixed(1)} s)`);
    } else if (type === 'test:fail' && data.details?.type !== 'suite' && (inside || data.details.error?.failureType !== 'subtestsFailed')) {
      failed += 1;
      const cause = data.details.error?.cause ?? data.details.error;
      failures.push(`${basename(file, '.test.mjs')}: ${data.name}`);
      console.log(`  FAIL  ${data.name}\n${String(cause?.stack ?? cause).replace(/^/gm, '        ')}`);
    } else if (type === 'test:stdout' || type === 'test:stderr') {
      process.stdout.write(data.message.replace(/^(?=.)/gm, '        '));
    }
  }
}
if (failures.length) console.log(`\nFailed:\n${failures.map((name) => `  ${name}`).join('\n')}`);
console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
