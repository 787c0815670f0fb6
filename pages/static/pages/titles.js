// The title that a model writes after the first answer of a conversation (TITLE_MODEL): it comes some moments later.
import { at } from "./dom.js";
import { titleOf } from "./operations.js";

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// Calls `found` with the conversation's id and title once it has another one than now.
export async function awaitTitle({ id, title }, found) {
  const until = Date.now() + 1_000 * Number(at("title").dataset.seconds);
  for (let pause = 300; Date.now() < until; pause = Math.min(1.5 * pause, 4_000)) {
    await sleep(pause);
    const now = await titleOf(id).catch(() => title); // asked again; what is wrong is told elsewhere
    if (now === null) return; // the conversation was deleted
    if (now !== title) return found(id, now);
  }
}
