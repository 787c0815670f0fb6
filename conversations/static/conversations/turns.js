// Lets the browser do something else where much is shown. Rendering takes a few times as long as adding what is rendered,
// so that it is what is added to one frame that counts, and only then the time that it took.
const FRAME_ELEMENTS = 200;
const FRAME_MS = 10;
let began = 0;
let added = 0;

// Nothing is rendered while nobody looks.
export const nextFrame = () => new Promise((done) => (document.hidden ? setTimeout(done) : requestAnimationFrame(done)));

// Called after each step of whatever shows something, with the element that it added: waits if this frame has enough.
export async function takeTurn(element = null) {
  if (!began) {
    began = performance.now();
    nextFrame().then(() => (began = added = 0));
  }
  if (element) added += element.getElementsByTagName("*").length + 1;
  if (added >= FRAME_ELEMENTS || performance.now() - began >= FRAME_MS) await nextFrame();
}
