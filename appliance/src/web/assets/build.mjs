// Builds dist/: style sheet, scripts, font subsets, icon sprite and service worker, each under a
// name that carries a hash of its content, with .br and .gz beside it and a manifest that maps
// logical names to files. The hadada program embeds the folder.
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import subsetFont from 'subset-font';

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.resolve(here, '../../../..');
const out = path.join(here, 'dist');
const modules = path.join(root, 'node_modules');
const browsers = ['chrome123', 'safari17.5', 'firefox120'];
const firstLoadLimit = 120 * 1024;

const types = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.webmanifest': 'application/manifest+json',
  '.woff2': 'font/woff2',
};

const manifest = {};
const record = (logical, file) => {
  manifest[logical] = { file, type: types[path.extname(logical)] };
};

/** Writes `data` as `name.HASH.ext` and returns its address. */
const emit = (logical, data) => {
  const { name, ext } = path.parse(logical);
  const hash = crypto.createHash('sha256').update(data).digest('hex').slice(0, 8);
  const file = `${name}.${hash}${ext}`;
  fs.writeFileSync(path.join(out, file), data);
  record(logical, file);
  return `/a/${file}`;
};

const read = (...parts) => fs.readFileSync(path.join(...parts));
const text = (...parts) => read(...parts).toString('utf8');

/** Every file under `folder` whose name ends in `ending`. */
const walk = (folder, ending) =>
  fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const full = path.join(folder, entry.name);
    if (entry.isDirectory()) return full === out ? [] : walk(full, ending);
    return entry.name.endsWith(ending) ? [full] : [];
  });

async function fonts() {
  const ascii = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join('');
  const latin = `${ascii}éèêëÉÊËáàâäÁÂîïíÎÏóòôöÔÖúùûüÛÜñçÇ–—‘’“”•…·×±°²³½¼€£©\u00a0`;
  // š for Sesotho sa Leboa and the Tshivenda letters; a second file that loads only when used.
  const southern = 'ŠšŽžČčĆćĎďŇňŘřĀāŪūḒḓḼḽṄṅṊṋṰṱ';
  const cut = async (source, letters) =>
    subsetFont(read(modules, '@fontsource-variable/inter/files', source), letters, {
      targetFormat: 'woff2',
      variationAxes: { wght: { min: 400, max: 700 } },
    });
  return {
    'inter.woff2': emit('inter.woff2', await cut('inter-latin-wght-normal.woff2', latin)),
    'inter-za.woff2': emit('inter-za.woff2', await cut('inter-latin-ext-wght-normal.woff2', southern)),
  };
}

/** Icons named in icons.txt, drawn by a template or script as icon("name"), or set in Rust as `icon: "name"`. */
function iconNames() {
  const names = new Set(text(here, 'icons.txt').split('\n').map((l) => l.trim()).filter((l) => l && !l.startsWith('#')));
  const code = path.join(root, 'appliance/src');
  for (const file of [...walk(code, '.html'), ...walk(code, '.rs'), ...walk(path.join(here, 'js'), '.js')]) {
    for (const [, name] of text(file).matchAll(/\bicon(?:\(|:)\s*["']([a-z0-9-]+)["']/g)) names.add(name);
  }
  return [...names].sort();
}

function sprite() {
  const symbols = iconNames().map((name) => {
    const file = path.join(modules, 'lucide-static/icons', `${name}.svg`);
    if (!fs.existsSync(file)) throw new Error(`There is no icon "${name}". Names: https://lucide.dev/icons`);
    const paths = text(file)
      .replace(/<!--.*?-->/gs, '')
      .replace(/^[\s\S]*?<svg[^>]*>/, '')
      .replace(/<\/svg>\s*$/, '')
      .replace(/\s+/g, ' ')
      .trim();
    return `<symbol id="${name}" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round">${paths}</symbol>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg">${symbols.join('')}</svg>`;
}

/** Rows of 5 minutes as classes, so that no style attribute is needed and `style-src 'self'` holds. */
function geometry() {
  const range = (n) => Array.from({ length: n }, (_, i) => i + 1);
  return [
    '@layer day{',
    ...range(289).map((i) => `.r${i}{--r:${i}}`),
    ...range(288).map((i) => `.s${i}{--s:${i}}`),
    ...range(24).map((i) => `.hours-${i}{--rows:${i * 12}}`),
    ...range(8).map((i) => `.c${i}{--col:${i + 1}}.cols-${i}{--cols:${i}}`),
    '}',
  ].join('');
}

const generated = (contents) => ({
  name: 'generated',
  setup(plugin) {
    plugin.onResolve({ filter: /^generated:/ }, ({ path: name }) => ({ path: name.slice(10), namespace: 'generated' }));
    plugin.onLoad({ filter: /.*/, namespace: 'generated' }, ({ path: name }) => ({ contents: contents[name], loader: 'css' }));
  },
});

const common = { bundle: true, minify: true, target: browsers, write: false, logLevel: 'warning', outdir: out };

async function styles(fontUrls) {
  const result = await build({
    ...common,
    entryPoints: [path.join(here, 'css/app.css')],
    external: ['/a/*'],
    plugins: [generated({ geometry: geometry() })],
  });
  let css = result.outputFiles[0].text;
  for (const [name, url] of Object.entries(fontUrls)) css = css.replaceAll(`/a/${name}`, url);
  return emit('app.css', css);
}

/** Page scripts as modules; what they share becomes lib.js. boot.js runs before the first paint and stands alone. */
async function scripts() {
  const pages = ['app', 'day', 'list', 'chart', 'plain'].map((name) => path.join(here, `js/${name}.js`));
  const result = await build({
    ...common,
    entryPoints: pages,
    format: 'esm',
    splitting: true,
    entryNames: '[name].[hash]',
    chunkNames: 'lib.[hash]',
    metafile: true,
  });
  for (const file of result.outputFiles) fs.writeFileSync(file.path, file.contents);
  for (const [file, { entryPoint }] of Object.entries(result.metafile.outputs)) {
    record(entryPoint ? path.basename(entryPoint) : 'lib.js', path.basename(file));
  }
  const boot = await build({ ...common, entryPoints: [path.join(here, 'js/boot.js')], format: 'iife' });
  emit('boot.js', boot.outputFiles[0].contents);
  emit('htmx.js', text(modules, 'htmx.org/dist/htmx.min.js').replace(/\n?\/\/# sourceMappingURL=.*\s*$/, ''));
}

/** The service worker keeps one name, so that the browser finds the next version of it. */
async function serviceWorker() {
  const shell = Object.entries(manifest)
    .filter(([name]) => !/^(inter-za|licenses|manifest)\b/.test(name))
    .map(([, { file }]) => `/a/${file}`)
    .sort();
  const version = crypto.createHash('sha256').update(shell.join()).digest('hex').slice(0, 12);
  const result = await build({
    ...common,
    entryPoints: [path.join(here, 'js/sw.js')],
    format: 'iife',
    define: {
      VERSION: JSON.stringify(version),
      SHELL: JSON.stringify(shell),
      OFFLINE: JSON.stringify(`/a/${manifest['offline.html'].file}`),
    },
  });
  fs.writeFileSync(path.join(out, 'sw.js'), result.outputFiles[0].contents);
  record('sw.js', 'sw.js');
}

function licences() {
  const packages = ['htmx.org', 'lucide-static', '@fontsource-variable/inter'];
  return packages
    .map((name) => `${name}\n${'='.repeat(name.length)}\n\n${text(modules, name, 'LICENSE').trim()}\n`)
    .join('\n\n');
}

function compress() {
  for (const { file } of Object.values(manifest)) {
    if (file.endsWith('.woff2')) continue;
    const data = read(out, file);
    const brotli = zlib.brotliCompressSync(data, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 11 } });
    fs.writeFileSync(path.join(out, `${file}.br`), brotli);
    fs.writeFileSync(path.join(out, `${file}.gz`), zlib.gzipSync(data, { level: 9 }));
  }
}

function report() {
  const wire = ({ file }) => {
    const small = path.join(out, `${file}.br`);
    return fs.statSync(fs.existsSync(small) ? small : path.join(out, file)).size;
  };
  const rows = Object.entries(manifest).sort(([a], [b]) => a.localeCompare(b));
  for (const [name, entry] of rows) {
    const size = fs.statSync(path.join(out, entry.file)).size;
    console.log(name.padEnd(24), String(size).padStart(8), String(wire(entry)).padStart(8));
  }
  const total = (wanted) => rows.filter(([name]) => wanted.test(name)).reduce((sum, [, entry]) => sum + wire(entry), 0);
  const first = total(/^(app|boot|lib|day|chart|htmx|icons|inter\.|favicon|manifest)/);
  console.log(`\nfirst load ${first} bytes, own scripts ${total(/^(app\.js|boot|lib|day|chart)/)} bytes on the wire`);
  if (first > firstLoadLimit) throw new Error(`The first load is ${first} bytes; the limit is ${firstLoadLimit}.`);
}

fs.rmSync(out, { recursive: true, force: true });
fs.mkdirSync(out);
const css = await styles(await fonts());
await scripts();
const favicon = emit('favicon.svg', read(here, 'favicon.svg'));
emit('icons.svg', sprite());
emit('offline.html', text(here, 'offline.html').replace('/a/app.css', css).replace('/a/favicon.svg', favicon));
emit('manifest.webmanifest', text(here, 'manifest.webmanifest').replace('/a/favicon.svg', favicon));
emit('licenses.txt', licences());
await serviceWorker();
compress();
fs.writeFileSync(path.join(out, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
report();
