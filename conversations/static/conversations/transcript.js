import { showMathematics } from "./mathematics.js";

showMathematics(document.querySelectorAll(".math"));
