// The length of a text to be sent. A field with `maxlength` would cut what is pasted without a word: here it stays whole,
// and it is said how much of it is too much.
const longest = () => Number(document.body.dataset.longest) || Infinity;
const number = new Intl.NumberFormat();

// Returns whether the service takes a text of this length, and says in `note` if it does not.
export function isShortEnough(input, note) {
  const text = input.value;
  // The service counts characters, and `length` some of them twice.
  const excess = text.length > longest() ? [...text].length - longest() : 0;
  note.hidden = excess <= 0;
  const said = `This is ${number.format(excess)} characters too long: a message has at most ${number.format(longest())}.`;
  if (!note.hidden && note.textContent !== said) note.textContent = said;
  input.setAttribute("aria-invalid", String(!note.hidden));
  return note.hidden;
}
