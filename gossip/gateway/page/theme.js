// Light, dark, or as the system has it. Kept for the next time, if the browser lets us.

const KEPT = "gossip-theme";
const NEXT = { "": "light", light: "dark", dark: "" };
const WORDS = { "": "as the system has it", light: "light", dark: "dark" };

/** The button goes round the three. */
export function setUpTheme(button) {
  let now = read();
  const show = () => {
    if (now) document.documentElement.dataset.theme = now;
    else delete document.documentElement.dataset.theme;
    button.setAttribute("aria-label", `Colours: ${WORDS[now]}`);
    button.title = `Colours: ${WORDS[now]}`;
  };
  button.addEventListener("click", () => {
    now = NEXT[now];
    try {
      localStorage.setItem(KEPT, now);
    } catch {
      // private browsing: it holds for this visit
    }
    show();
  });
  show();
}

function read() {
  try {
    const kept = localStorage.getItem(KEPT) ?? "";
    return kept in NEXT ? kept : "";
  } catch {
    return "";
  }
}
