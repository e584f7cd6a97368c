// The diary as a list: states from each line's menu. The page is loaded again after a change, by whomever.
import { $, explain, on, send, toast } from './lib.js';

const date = $('[data-date]').dataset.date;

on('click', '.menu [data-to]', async (_, button) => {
  const line = button.closest('tr');
  button.closest('.menu').hidePopover();
  const { id, version } = line.dataset;
  const response = await send(`/appointments/${id}/status`, { method: 'POST', form: { to: button.dataset.to, date, version } });
  if (response?.ok) location.reload();
  else toast(`${await explain(response)} Nothing was changed.`, { state: 'bad' });
});
document.addEventListener('hadada:dialog', () => location.reload());

let timer;
const again = () => {
  clearTimeout(timer);
  // Not under the hands of somebody who has a menu or a form open.
  timer = setTimeout(() => { if ($('.menu:popover-open, dialog[open]')) again(); else location.reload(); }, 400);
};
document.addEventListener('hadada:appointment', again);
document.addEventListener('hadada:online', again);
