// The theme's switches that unfold a part of the table of contents have an arrow and no name: screen readers get one.
document.addEventListener("DOMContentLoaded", () => {
  for (const summary of document.querySelectorAll("nav summary")) {
    const link = summary.closest("li")?.querySelector("a");
    if (!summary.textContent.trim()) summary.setAttribute("aria-label", `Contents of ${link?.textContent.trim() ?? "this part"}`);
  }
});
