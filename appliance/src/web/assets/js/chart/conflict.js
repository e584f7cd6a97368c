// Both versions of a note side by side, section by section. Nothing is merged without a person.
import { el, icon } from '../lib.js';

const labels = { source_text: 'Your lines', subjective: 'Subjective', objective: 'Objective', assessment: 'Assessment', plan: 'Plan' };

/**
 * Shows the sections that differ and resolves to the text a person chose for each field,
 * or to null when theirs is signed and can only be looked at.
 */
export function askWhich(place, mine, theirs) {
  const differ = Object.keys(labels).filter((name) => (mine[name] ?? '').trim() !== (theirs[name] ?? '').trim());
  const signed = theirs.state === 'signed';
  const who = `${theirs.saved_by}, ${theirs.saved_at}`;
  return new Promise((resolve) => {
    const option = (name, side, title, text) => el('label', {},
      el('input', { type: 'radio', name: `which-${name}`, value: side, checked: side === 'mine', disabled: signed }), el('b', {}, title),
      el('p', {}, text.trim() || 'Empty'));
    const rows = differ.map((name) => el('fieldset', { class: 'conflict-row' },
      el('legend', {}, labels[name]),
      option(name, 'mine', 'Yours', mine[name] ?? ''),
      option(name, 'theirs', `Saved by ${who}`, theirs[name] ?? '')));
    const finish = (pick) => () => {
      const chosen = Object.fromEntries(Object.keys(labels).map((name) => [name, (pick(name) === 'theirs' ? theirs : mine)[name] ?? '']));
      panel.remove();
      resolve(signed ? null : chosen);
    };
    const picked = (name) => panel.querySelector(`[name="which-${name}"]:checked`)?.value ?? 'mine';
    const actions = signed
      ? [el('button', { type: 'button', class: 'btn btn-primary', click: finish(() => 'theirs') }, 'Open the signed note')]
      : [el('button', { type: 'button', class: 'btn btn-primary', click: finish(picked) }, 'Save what I chose'),
        el('button', { type: 'button', class: 'btn', click: finish(() => 'theirs') }, 'Take all of theirs')];
    const panel = el('section', { class: 'conflict', 'aria-labelledby': 'conflict-h', tabindex: '-1' },
      el('h3', { class: 'conflict-h', id: 'conflict-h' }, icon('triangle-alert'), signed ? `Signed by ${who} while you were typing` : `Changed elsewhere by ${who}`),
      el('p', {}, signed ? 'Your text is kept on this device. You can add it as an addendum.' : 'Nothing of yours is lost. Choose for each section which text stands.'),
      ...rows,
      el('div', { class: 'form-acts' }, ...actions));
    place.append(panel);
    panel.focus({ preventScroll: true });
    panel.scrollIntoView({ block: 'nearest' });
  });
}
