// The server's HTML, taken apart and built anew from an allow-list: the server has escaped and
// checked it already, and this holds even if it had not. Nothing of the input's own nodes is used.

const PLAIN = new Set([
  "P",
  "BR",
  "STRONG",
  "EM",
  "S",
  "DEL",
  "CODE",
  "PRE",
  "UL",
  "OL",
  "LI",
  "BLOCKQUOTE",
  "HR",
  "H1",
  "H2",
  "H3",
  "H4",
  "H5",
  "H6",
  "A",
  "TABLE",
  "THEAD",
  "TBODY",
  "TR",
  "TH",
  "TD",
]);
// Their text is no text: a script's source would be shown to the reader.
const DROPPED = new Set([
  "SCRIPT",
  "STYLE",
  "TEMPLATE",
  "IFRAME",
  "OBJECT",
  "NOSCRIPT",
  "SVG",
  "MATH",
]);
const DEPTH_MAX = 60;

/** A DocumentFragment with what is allowed of `html`. */
export function safe(html) {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  const fragment = document.createDocumentFragment();
  copyInto(fragment, parsed.body, 0);
  return fragment;
}

function copyInto(target, source, depth) {
  for (const node of source.childNodes) {
    if (node.nodeType === Node.TEXT_NODE) {
      target.append(node.data);
    } else if (node.nodeType === Node.ELEMENT_NODE) {
      const name = node.tagName.toUpperCase();
      if (DROPPED.has(name)) continue;
      if (!PLAIN.has(name) || depth > DEPTH_MAX) copyInto(target, node, depth + 1);
      else target.append(rebuilt(name, node, depth));
    }
  }
}

function rebuilt(name, node, depth) {
  // A heading of the answer stands below the page's own headings.
  const heading = /^H([1-6])$/.exec(name);
  const made = document.createElement(heading ? `h${Math.min(6, Number(heading[1]) + 2)}` : name);
  if (heading) made.className = `h${heading[1]}`;
  if (name === "A") link(made, node);
  if (name === "OL" && /^\d{1,9}$/.test(node.getAttribute("start") ?? "")) {
    made.setAttribute("start", node.getAttribute("start"));
  }
  if (name === "CODE" && /^language-[\w+#.-]{1,30}$/.test(node.className)) {
    made.dataset.language = node.className.slice("language-".length);
  }
  if ((name === "TH" || name === "TD") && /^(center|right)$/.test(node.className)) {
    made.className = node.className;
  }
  copyInto(made, node, depth + 1);
  return made;
}

function link(made, node) {
  const href = (node.getAttribute("href") ?? "").trim();
  if (!/^(https?:\/\/|mailto:)/i.test(href)) return;
  made.href = href;
  made.target = "_blank";
  made.rel = "noopener noreferrer nofollow";
}
