// What the page of a shared link has besides its HTML: formulas, and what scrolls can be scrolled by keyboard.
import { showMathematics } from "../conversations/mathematics.js";
import { scrollTable } from "./dom.js";

showMathematics(document.querySelectorAll(".math"));
for (const pre of document.querySelectorAll(".markdown pre")) pre.tabIndex = 0;
for (const table of document.querySelectorAll(".markdown table")) scrollTable(table);
