// Django's lists with a filter (SelectFilter2) name their fields by a span, which takes no name: as an image it does.
addEventListener("load", () => {
  // Whatever is done at the same event comes first.
  setTimeout(() => {
    for (const sign of document.querySelectorAll("span.help-tooltip[aria-label]")) sign.setAttribute("role", "img");
  });
});
