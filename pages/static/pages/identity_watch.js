// When this page's user is signed out, or somebody else signs in: says so, keeps what is shown and written, and lets
// the person decide. The service refuses such requests by itself; tabs tell each other only to make it known sooner.
import { pageRefused, signIn, whenRefused } from "./api.js";
import { choose } from "./dialogs.js";
import { identityOf, pageUser } from "./identity.js";
import { whoIsHere } from "./operations.js";

const otherTabs = new BroadcastChannel("chat-identity");
// What closes the dialog, while it is open.
let dialog = null;
let isRefused = false;
let on = { resumed() {}, leaving() {} };

// Tells the other tabs who is signed in now; null for nobody.
export const announce = (identity) => otherTabs.postMessage({ identity });

// `resumed`: the page's user is signed in again. `leaving`: a guest's page is given up for somebody's own.
export function watchIdentity(handlers = {}) {
  on = { ...on, ...handlers };
  whenRefused((isCertain) => dialog || explainRefusal(isCertain));
  otherTabs.onmessage = ({ data }) => (data.identity === pageUser().identity ? resume() : pageRefused());
  addEventListener("pageshow", ({ persisted }) => {
    if (!persisted) return;
    // The browser kept the page as it was, and somebody else may be signed in by now.
    document.body.hidden = true;
    location.reload();
  });
  announce(pageUser().identity);
}

function resume() {
  dialog?.abort();
  if (!isRefused) return;
  isRefused = false;
  on.resumed();
}

async function explainRefusal(isCertain) {
  dialog = new AbortController();
  isRefused = true;
  try {
    const now = await whoIsHere().catch(() => null);
    const isSame = now && identityOf(now) === pageUser().identity;
    if (isSame && !isCertain) return resume();
    // Refused all the same: one process knows already that the session is over, and another does not yet.
    leave(await choose({ ...question(pageUser(), isSame ? null : now), signal: dialog.signal }));
  } finally {
    dialog = null;
  }
  return undefined;
}

// `now` is who is signed in, null for nobody.
function question(user, now) {
  const signInAs = (label) => ({ value: "sign-in", label });
  const reload = now && { value: "reload", label: now.isGuest ? "Continue as a guest" : `Reload as ${now.username}` };
  if (user.isGuest) {
    return {
      title: now ? `You are signed in as ${now.username}` : "Guests are no longer admitted",
      text: "This page was opened by a guest. Nothing was sent. What you wrote is kept.",
      actions: [reload ?? signInAs("Sign in")],
    };
  }
  const text = `This page belongs to ${user.name} and sends nothing any more. What was written here is kept in this tab for ${user.name}.`;
  if (now && !now.isGuest) {
    return { title: `You are signed in as ${now.username}`, text, actions: [signInAs(`Sign in as ${user.name}`), reload] };
  }
  return { title: "You are signed out", text, actions: [signInAs("Sign in"), ...(reload ? [reload] : [])] };
}

function leave(choice) {
  if (!choice) return;
  if (pageUser().isGuest) on.leaving();
  if (choice === "sign-in") return void signIn();
  // The conversation that is open is not the other user's.
  history.replaceState(null, "", location.pathname);
  location.reload();
}
