// The webhook form: examples and fields go into the filter with a click, and what it would have done is shown anew.

const filter = document.querySelector("#id_filter");

function show() {
  filter.focus();
  filter.dispatchEvent(new Event("refresh"));
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-insert], [data-append]");
  if (!button) return;
  const { insert, append } = button.dataset;
  if (insert) filter.value = insert;
  else filter.setRangeText(append, filter.selectionStart, filter.selectionEnd, "end");
  show();
});

document.addEventListener("change", ({ target }) => {
  if (target.name === "trigger") filter.dispatchEvent(new Event("refresh"));
});

for (const element of document.querySelectorAll("[data-needs-script]")) element.hidden = false;
