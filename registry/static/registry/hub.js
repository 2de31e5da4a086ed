// The site works without this file. It adds a copy button to snippets and refreshes a report that is still being made.
document.querySelectorAll(".copy").forEach((box) => {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(box.querySelector("code").innerText);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  if (navigator.clipboard) box.append(button);
});
const pending = document.querySelector("[data-refresh]");
if (pending) setTimeout(() => location.reload(), 1000 * Number(pending.dataset.refresh));
