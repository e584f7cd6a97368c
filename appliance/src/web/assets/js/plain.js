// Pages outside the practice: trust and first-run wizard. Stands alone, so that lib.js stays one file.
const summary = document.querySelector('main [data-errors]');
if (summary) (document.querySelector('main [aria-invalid="true"]') ?? summary).focus();

document.addEventListener('click', (event) => {
  if (event.target.closest?.('[data-print]')) print();
});

// A file chosen beside a text field is read into it; it is not sent anywhere before the form is.
document.addEventListener('change', async (event) => {
  const input = event.target.closest?.('input[type=file][data-into]');
  const file = input?.files[0];
  if (!file) return;
  const field = document.getElementById(input.dataset.into);
  if (file.size > 256 * 1024) {
    input.setCustomValidity('This file is too large for a certificate or key.');
    input.reportValidity();
    return;
  }
  input.setCustomValidity('');
  field.value = await file.text();
  field.focus();
});
