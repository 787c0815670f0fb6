// The chat page: who is there, which conversation the address names, and what its parts tell each other.
import { request, signIn } from "./api.js";
import { showAttached } from "./attach.js";
import { handOverDraft, model, offerInterrupt, offerModels, running, showDraft, showModel, startComposer, write } from "./composer.js";
import { at, el } from "./dom.js";
import { ofTab } from "./identity.js";
import { announce, watchIdentity } from "./identity_watch.js";
import * as list from "./list.js";
import { copy } from "./message.js";
import { hello } from "./operations.js";
import { clear, startSearch, wordsFound } from "./search.js";
import { startShortcuts } from "./shortcuts.js";
import { reconnect, watchLine } from "./stream.js";
import * as talks from "./talk.js";
import { guarded, toast, toastProblem } from "./toasts.js";

const { talk } = talks;
const refreshList = guarded(list.refresh);
// Other tabs of this browser: what is done in one is seen in the others.
const others = new BroadcastChannel("chat");

function title() {
  const name = talk.id ? talk.title || "Untitled" : "New chat";
  document.title = `${name} · Chat`;
  at("title").textContent = name;
  at("talk-menu").hidden = !talk.id;
  instructions();
}

// The mark of a conversation that has instructions, and where a new chat gets some.
function instructions() {
  const button = at("instructions");
  const isSet = Object.keys(talk.generation ?? {}).length > 0;
  button.hidden = Boolean(talk.id) && !isSet;
  button.classList.toggle("set", isSet);
  button.title = isSet ? "Instructions are set" : "Instructions";
  button.setAttribute("aria-label", button.title);
}

// --- the address

async function go() {
  const [id, messageId] = location.hash.slice(1).split("/");
  drawer(false);
  if (id && id === talk.id && !messageId) return;
  if (!id) return talks.close();
  try {
    if (!(await talks.open(id, { messageId: messageId || null }))) {
      history.replaceState(null, "", location.pathname);
      talks.close();
      toast("This conversation does not exist, or it is not yours.");
    }
  } catch (problem) {
    toastProblem(problem, { action: "Try again", act: go });
  }
}

function opened() {
  const [id] = location.hash.slice(1).split("/");
  if (talk.id && id !== talk.id) history.pushState(null, "", `#${talk.id}`);
  list.markOpen(talk.id);
  title();
  showDraft();
  showModel();
  showAttached();
}

// What is asked or chosen now is what a reload shows, no longer the message that was found.
function moved() {
  if (talk.id && location.hash.includes("/")) history.replaceState(null, "", `#${talk.id}`);
}

function create() {
  history.pushState(null, "", location.pathname);
  talks.close();
  drawer(false);
  at("input").focus();
}

function told(id) {
  others.postMessage({ id });
}

others.onmessage = ({ data }) => {
  refreshList();
  if (data.id === talk.id) guarded(talks.reload)();
};

// --- the drawer, on a phone

function drawer(open) {
  document.body.classList.toggle("drawer", open);
  at("drawer").setAttribute("aria-expanded", String(open));
  at("main").inert = open;
  if (open) at("search").focus();
}

// --- light and dark

function theme() {
  const dark = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const wanted = dark === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = wanted;
  try {
    localStorage.setItem("theme", wanted);
  } catch {
    // It holds as long as the page does.
  }
}

// --- who is there

function welcome({ me, models, defaultModel }) {
  offerModels(models, defaultModel, me.preferredModel);
  if (me.isGuest) delete document.body.dataset.shareDays; // guests share nothing
  at("who").textContent = me.isGuest ? "Guest" : me.username;
  at("sign-in").hidden = !me.isGuest;
  at("sign-out").hidden = at("profile").hidden = me.isGuest;
  at("staff").hidden = !me.isStaff || !at("staff").href; // there is no admin with ADMIN_ENABLED=false
  const notes = [];
  if (me.isGuest) notes.push("You are a guest: everybody on this machine sees these conversations. Sign in to have your own.");
  if (defaultModel === "echo") notes.push("No language model is connected yet: the built-in echo model answers.");
  at("empty-note").replaceChildren(...notes.map((note) => el("p", {}, note)));
}

async function signOut() {
  const left = await request("/logout", { method: "POST" });
  announce(null);
  if (left?.location) return location.assign(left.location); // to sign out at the OpenID provider, too
  signIn();
}

function renamed(id, name) {
  if (id === talk.id) talk.title = name;
  title();
  told(id);
}

// Only where a model writes titles.
async function titleComes(conversation) {
  if (!Number(at("title").dataset.seconds)) return;
  const { awaitTitle } = await import("./titles.js");
  await awaitTitle(conversation, (id, name) => (renamed(id, name), refreshList()));
}

function wire({ me }) {
  startComposer();
  startSearch();
  talks.startTalk({
    model,
    words: wordsFound,
    running,
    opened,
    moved,
    busy: offerInterrupt,
    answered: guarded(titleComes),
    changed: (conversation) => {
      if (conversation.id === talk.id && conversation.title !== undefined) talk.title = conversation.title;
      title();
      told(conversation.id);
      refreshList();
    },
  }, me.defaultGeneration);
  list.startList({
    told,
    browsed: clear,
    renamed,
    pinned: (id, pinned) => {
      if (id === talk.id) talk.pinned = pinned;
      told(id);
    },
    instructed: (id, generation) => {
      if (!id) ofTab.set("generation", generation ?? {});
      else told(id);
      if (id === talk.id) talk.generation = generation;
      instructions();
    },
    gone: (id) => {
      told(id);
      if (id === talk.id) create();
    },
  });
  startShortcuts({
    create,
    search: () => (drawer(matchMedia("(max-width: 800px)").matches), at("search").select(), at("search").focus()),
    write: () => at("input").focus(),
    stop: () => (document.body.classList.contains("drawer") ? drawer(false) : talks.stop()),
    move: (step) => {
      const id = list.neighbour(step);
      if (id) location.hash = id;
    },
    copy: () => talks.lastAnswer() !== undefined && copy(talks.lastAnswer()),
  });
  watchLine((isUp) => {
    at("line").hidden = isUp;
  });
  watchIdentity({ resumed: () => (refreshList(), reconnect(), guarded(talks.reload)()), leaving: handOverDraft });
  at("sign-in").addEventListener("click", handOverDraft);
  addEventListener("hashchange", go);
  for (const button of document.querySelectorAll("[data-new]")) button.addEventListener("click", create);
  at("drawer").addEventListener("click", () => drawer(true));
  at("backdrop").addEventListener("click", () => drawer(false));
  for (const button of document.querySelectorAll("[data-switch-theme]")) button.addEventListener("click", theme);
  at("sign-out").addEventListener("click", guarded(signOut));
  at("instructions").addEventListener("click", () => guarded(list.acts.instructions)(talk));
  at("talk-menu").addEventListener("click", (event) => list.openMenu(talk, event.currentTarget));
  at("empty").addEventListener("click", (event) => {
    const idea = event.target.closest("button")?.dataset.idea;
    if (idea) (write(idea), at("input").focus());
  });
  at("hits").addEventListener("click", () => drawer(false));
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") refreshList();
  });
}

async function start() {
  running(false);
  title();
  const known = await hello();
  welcome(known);
  wire(known);
  await Promise.all([list.refresh(), go()]);
  await talks.resumeAsking();
  document.body.dataset.ready = "yes";
  if (matchMedia("(min-width: 801px)").matches && !location.hash.includes("/")) at("input").focus();
}

start().catch((problem) => {
  if (problem.status === 401) signIn();
  else toastProblem(problem, { action: "Reload", act: () => location.reload(), seconds: 60 });
});
