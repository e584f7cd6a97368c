// The AI draft: streaming it, showing sources, and taking sentences over one by one.
import { $, $$, el, explain, icon, on, parse, send, toast } from '../lib.js';

const names = { subjective: 'Subjective', objective: 'Objective', assessment: 'Assessment', plan: 'Plan' };
const quietLimit = 30_000;

/** Reads `event:`/`data:` blocks from a response as they arrive. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    let timer;
    const quiet = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error('quiet')), quietLimit); });
    const { value, done } = await Promise.race([reader.read(), quiet]).finally(() => clearTimeout(timer));
    if (done) return;
    rest += value.replaceAll('\r', '');
    const blocks = rest.split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = block.split('\n');
      const of = (field) => lines.filter((line) => line.startsWith(`${field}:`)).map((line) => line.slice(field.length + 1).replace(/^ /, ''));
      if (of('data').length) yield { name: of('event')[0] ?? 'message', data: of('data').join('\n') };
    }
  }
}

export function startDraft({ encounter, form, autosave, showPart }) {
  const box = $('#draft');
  const sources = $('#sources');
  const toggle = $('#src-toggle');
  const text = form.elements.source_text;
  const unused = $('#unused');
  const messages = $('#draft-msgs');
  const head = $('[data-draft-head]');
  const useAll = $('[data-use-all]');
  let stopper = null;
  let decisions = {};

  const sentences = () => $$('.sent', box).filter((sentence) => !sentence.hidden);
  const ready = () => sentences().filter((sentence) => sentence.dataset.state === 'ready');
  const say = (words) => { $('[data-draft-say]').textContent = words; };
  const steps = (section, state) => {
    let live = false;
    for (const step of $$('[data-step]')) {
      live ||= step.dataset.step === section;
      step.dataset.state = step.dataset.step === section ? state : live ? '' : 'done';
    }
  };
  const count = () => {
    const open = ready().length;
    useAll.disabled = Boolean(stopper) || open === 0;
    useAll.textContent = open === 1 ? 'Use 1 sourced sentence' : `Use ${open || 'all'} sourced sentences`;
    const tab = $('[data-draft-count]');
    const left = sentences().filter((s) => ['ready', 'warn'].includes(s.dataset.state)).length;
    tab.textContent = left || '';
    tab.hidden = !left;
    const listed = new Set($$('.omit', unused).filter((line) => !line.hidden).map((line) => line.dataset.src));
    for (const line of sources.children) line.toggleAttribute('data-unused', listed.has(line.dataset.src));
  };
  const buttons = () => {
    const again = $$('.sent', box).length > 0;
    for (const button of $$('[data-draft]')) {
      button.replaceChildren(icon(stopper ? 'square' : 'sparkles'), stopper ? 'Stop' : again ? 'Draft again' : 'Draft');
    }
  };

  // --- the clinician's lines: written, or numbered ------------------------------------------------

  const number = (numbered) => {
    const possible = sources.childElementCount > 0;
    sources.hidden = !numbered || !possible;
    text.hidden = !sources.hidden;
    toggle.hidden = !possible;
    toggle.textContent = sources.hidden ? 'Show numbered' : 'Edit';
  };
  toggle.addEventListener('click', () => {
    number(sources.hidden);
    if (!text.hidden) text.focus();
  });
  text.addEventListener('input', () => {
    if (sentences().length && !stopper) head.textContent = 'Your lines have changed since this draft. Draft again to take them in.';
  });

  // --- sources light up ---------------------------------------------------------------------------

  const light = (sentence) => {
    $$('[data-lit]').forEach((lit) => lit.removeAttribute('data-lit'));
    if (!sentence) return;
    sentence.dataset.lit = '';
    for (const id of sentence.dataset.sources.split(' ').filter(Boolean)) document.getElementById(`src-${id}`)?.setAttribute('data-lit', '');
  };
  box.addEventListener('pointerover', (event) => { const sentence = event.target.closest('.sent'); if (sentence) light(sentence); });
  box.addEventListener('pointerleave', () => light(document.activeElement?.closest('.sent')));
  box.addEventListener('focusin', (event) => light(event.target.closest('.sent')));
  box.addEventListener('focusout', (event) => { if (!box.contains(event.relatedTarget)) light(null); });
  on('click', '.cite', (event, cite) => {
    event.preventDefault();
    number(true);
    showPart('note');
    const line = $(cite.getAttribute('href'));
    light(cite.closest('.sent'));
    line?.scrollIntoView({ block: 'center' });
    line?.focus({ preventScroll: true });
    line?.setAttribute('data-lit', '');
  });

  // --- taking over --------------------------------------------------------------------------------

  /** Adds words at the end of a section; the returned function takes just these words out again. */
  const append = (section, words) => {
    const field = form.elements[section];
    const added = (field.value.trim() ? (/\s$/.test(field.value) ? '' : ' ') : '') + words;
    field.value = field.value.trim() ? field.value + added : added;
    autosave.changed();
    return () => {
      const at = field.value.lastIndexOf(added);
      if (at >= 0) field.value = field.value.slice(0, at) + field.value.slice(at + added.length);
      autosave.changed();
    };
  };
  const decide = (sentence, decision) => {
    const before = sentence.dataset.state;
    const { id } = sentence.dataset;
    decisions[id] = decision;
    if (decision === 'removed') sentence.hidden = true;
    else sentence.dataset.state = decision;
    count();
    autosave.changed();
    return () => {
      delete decisions[id];
      sentence.hidden = false;
      sentence.dataset.state = before;
      count();
      autosave.changed();
    };
  };
  const take = (sentence, decision) => {
    const undecide = decide(sentence, decision);
    const remove = append(sentence.dataset.section, $('.sent-text', sentence).textContent);
    return () => { remove(); undecide(); };
  };
  /** The focus goes to the next sentence that waits for a decision. */
  const next = (sentence) => {
    const all = $$('.sent', box);
    const open = all.slice(all.indexOf(sentence) + 1).find((s) => !s.hidden && ['ready', 'warn'].includes(s.dataset.state));
    (open ? $('[data-sent]', open) : useAll.disabled ? form.elements[sentence.dataset.section] : useAll)?.focus({ preventScroll: true });
  };
  on('click', '[data-sent]', (_, button) => {
    const action = button.dataset.sent;
    if (action === 'add') {
      const line = button.closest('.omit');
      const remove = append(line.dataset.section, $('[data-text]', line).textContent);
      line.hidden = true;
      count();
      toast(`Added to ${names[line.dataset.section]}.`, { undo: () => { remove(); line.hidden = false; count(); } });
      return;
    }
    const sentence = button.closest('.sent');
    if (action === 'remove') toast('Sentence removed.', { undo: decide(sentence, 'removed') });
    else toast(action === 'keep' ? 'Kept as your finding.' : 'Added to the note.', { undo: take(sentence, action === 'keep' ? 'kept' : 'used') });
    next(sentence);
  });
  useAll.addEventListener('click', () => {
    const undos = ready().map((sentence) => take(sentence, 'used'));
    toast(`${undos.length} sentences added.`, { undo: () => undos.reverse().forEach((undo) => undo()) });
    form.elements.subjective.focus({ preventScroll: true });
  });

  // --- streaming ----------------------------------------------------------------------------------

  const note = (state, words) => messages.replaceChildren(...(words ? [el('div', { class: 'notice', 'data-state': state, role: 'status' }, icon('triangle-alert'), el('div', {}, words))] : []));
  const handle = {
    draft: (data) => { box.dataset.draftId = JSON.parse(data).id; },
    sources: (data) => { sources.replaceChildren(parse(data)); number(true); },
    section: (data) => {
      const { section } = JSON.parse(data);
      steps(section, 'live');
      say(`Writing ${names[section]}`);
    },
    sentence: (data) => {
      const sentence = parse(data).querySelector('.sent');
      sentence.dataset.fresh = '';
      $(`[data-section="${sentence.dataset.section}"] ul`, box).append(sentence);
      count();
    },
    unused: (data) => { unused.append(parse(data)); count(); },
    done: (data) => {
      const { text: words, head: heading } = JSON.parse(data);
      head.textContent = heading;
      say(words);
      $$('[data-step]').forEach((step) => { step.dataset.state = 'done'; });
      return true;
    },
    refused: (data) => { end('Nothing was drafted.', 'warn', JSON.parse(data).detail); return true; },
    error: (data) => { end('The draft stopped.', 'bad', `${JSON.parse(data).detail} You can go on typing and draft again.`); return true; },
  };
  const end = (words, state, why) => {
    head.textContent = words;
    say('');
    $$('[data-step="subjective"], [data-step]').forEach((step) => { if (step.dataset.state === 'live') step.dataset.state = ''; });
    note(state, why);
  };

  async function start() {
    if (!text.value.trim()) {
      number(false);
      text.focus();
      note('warn', 'Write or paste a few lines first; the draft is made from them.');
      return;
    }
    stopper = new AbortController();
    decisions = {};
    delete box.dataset.draftId;
    $$('.sent', box).forEach((sentence) => sentence.remove());
    unused.replaceChildren();
    note();
    head.textContent = 'Writing on this server. You can keep typing.';
    say('Sorting your lines');
    $$('[data-step]').forEach((step) => { step.dataset.state = ''; });
    buttons();
    count();
    let finished = false;
    try {
      const response = await send(`/encounters/${encounter}/draft`, { method: 'POST', json: { source_text: text.value }, signal: stopper.signal });
      if (!response?.ok) {
        end('Nothing was drafted.', 'bad', `${await explain(response)} You can go on typing.`);
        finished = true;
      } else {
        for await (const { name, data } of events(response)) finished = handle[name]?.(data) || finished;
      }
    } catch {
      finished ||= stopper.signal.aborted && 'stopped';
    }
    const stopped = stopper.signal.aborted;
    stopper.abort();
    stopper = null;
    if (stopped) end('Stopped. What was written stays.');
    else if (!finished) end('The draft stopped.', 'bad', 'The connection to the model was lost. You can go on typing and draft again.');
    buttons();
    count();
  }

  const stop = () => stopper?.abort();
  on('click', '[data-draft]', () => {
    if (stopper) return stop();
    start();
    if (matchMedia('(max-width: 760px)').matches) showPart('draft');
  });
  form.addEventListener('hadada:rewritten', () => { if (!sources.hidden) number(false); });
  addEventListener('pagehide', stop);

  for (const sentence of $$('.sent', box)) if (['used', 'kept'].includes(sentence.dataset.state)) decisions[sentence.dataset.id] = sentence.dataset.state;
  number(sentences().length > 0);
  buttons();
  count();
  return {
    stop,
    /** How many drafted sentences still wait for a decision. */
    open: () => sentences().filter((sentence) => ['ready', 'warn'].includes(sentence.dataset.state)).length,
    decisions: () => ({ draft_id: box.dataset.draftId || null, decisions }),
  };
}
