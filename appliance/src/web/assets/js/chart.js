// The visit: the clinician's lines and note, the AI draft, signing.
import { $, $$, confirm, explain, on, parse, send, toast } from './lib.js';
import { startAutosave } from './chart/autosave.js';
import { startDraft } from './chart/draft.js';
import { Kept } from './chart/kept.js';

const visit = $('#visit');
const { encounter } = visit.dataset;
const kept = await Kept.open(encounter);

// --- parts of the visit, one at a time on a phone -------------------------------------------------

export const showPart = (name) => {
  visit.dataset.show = name;
  for (const tab of $$('[data-tab]')) tab.setAttribute('aria-selected', tab.dataset.tab === name);
};
on('click', '[data-tab]', (_, tab) => showPart(tab.dataset.tab));
on('keydown', '[data-tab]', (event, tab) => {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by) return;
  const tabs = $$('[data-tab]');
  const next = tabs[(tabs.indexOf(tab) + by + tabs.length) % tabs.length];
  next.focus();
  showPart(next.dataset.tab);
});

// A score was added in the dialog: the trend takes it in where it stands.
document.addEventListener('hadada:dialog', ({ detail }) => {
  const trends = parse(detail.html ?? '').querySelector('#trends');
  if (!trends) return;
  $('#trends').replaceWith(trends);
  toast('The score is in the trend.');
});

const form = $('#note');
if (form) {
  const autosave = await startAutosave({ encounter, form, kept });
  const draft = startDraft({ encounter, form, autosave, showPart });
  autosave.include(draft.decisions);

  const sign = async () => {
    if ($('dialog[open]')) return;
    const open = draft.open();
    const left = open ? ` Not in the note: ${open} drafted ${open === 1 ? 'sentence' : 'sentences'}.` : '';
    const sure = await confirm({
      title: 'Sign this note?',
      text: `Signing locks the note. Later changes are dated addenda.${left}`,
      action: 'Sign note',
    });
    if (!sure) return;
    draft.stop();
    if (!(await autosave.flush())) {
      toast('The note has not reached the clinic server yet, so it can’t be signed. Your text is kept.', { state: 'bad' });
      return;
    }
    const response = await send(`/encounters/${encounter}/sign`, { method: 'POST', form: { version: autosave.version() } });
    if (response?.ok) {
      kept.forget();
      location.assign(response.redirected ? response.url : location.href);
    } else if (response?.status === 409 && (await autosave.conflict(response))) {
      toast('The note changed elsewhere. Look at both versions, then sign.', { state: 'bad' });
    } else {
      toast(`${await explain(response)} The note is not signed.`, { state: 'bad' });
    }
  };
  on('click', '[data-sign]', sign);
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && !$('dialog[open]')) {
      event.preventDefault();
      sign();
    }
  });
} else {
  // Signed while this device still held text that was never saved: show it rather than lose it.
  const left = await kept.read();
  if (left) {
    const text = ['source_text', 'subjective', 'objective', 'assessment', 'plan'].map((name) => left[name]).filter(Boolean).join('\n\n');
    const box = document.createElement('details');
    box.className = 'note-add';
    const title = document.createElement('summary');
    title.textContent = 'Text kept on this device that is not part of the signed note';
    const words = document.createElement('p');
    words.textContent = text;
    const forget = Object.assign(document.createElement('button'), { type: 'button', className: 'btn btn-small', textContent: 'Remove this copy' });
    forget.addEventListener('click', () => { kept.forget(); box.remove(); });
    box.append(title, words, forget);
    $('.visit-note').append(box);
  }
}
