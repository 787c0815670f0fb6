// The one way to the service: GraphQL, as the user whose page this is, or as a guest.
import { pageUser } from "./identity.js";

export class Problem extends Error {
  constructor(message, { code = "failed", status = 0, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { code, status, retryAfter });
  }

  get isNetwork() {
    return this.code === "offline";
  }
}

// Where the service is: "" or the prefix that a proxy serves it under, without the slash at the end.
export const ROOT = (document.documentElement.dataset.root ?? "/").slice(0, -1);
const socketScheme = location.protocol === "https:" ? "wss" : "ws";
export const socketUrl = (path) => `${socketScheme}://${location.host}${ROOT}${path}`;

// Shows that our own page asks, which a page of another site cannot, and for whom: see docs/page-identity.md.
const marks = (user) => ({ "X-Requested-With": "chat", ...(user && { "X-Page-User": user.identity }) });
let onRefused = () => {};

// Calls back when the service takes a request of this page for nobody's, or somebody else's.
export const whenRefused = (callback) => (onRefused = callback);
// For callers that learn of a refusal in another way; `isCertain` if a request was refused just now.
export const pageRefused = (isCertain = false) => onRefused(isCertain);

export function signIn() {
  location.assign(`${ROOT}/login?next=${encodeURIComponent(location.pathname + location.hash)}`);
}

// As `anybody` it is asked for whoever is signed in now: only to see who that is.
export async function graphql(query, variables = {}, { anybody = false } = {}) {
  const payload = await request("/graphql", { method: "POST", body: { query, variables }, anybody });
  if (payload.errors?.length) throw problemOf(payload.errors[0], 200);
  return payload.data;
}

export async function request(path, { method = "GET", body, anybody = false } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetchResponse(path, { method, headers, body: body && JSON.stringify(body), anybody });
  let payload = null;
  try {
    payload = await response.json();
  } catch {
    if (response.ok && response.status === 204) return null;
    throw new Problem("The service sent a response that cannot be read.", { code: "unreadable", status: response.status });
  }
  if (!response.ok) throw problemOf(payload.errors?.[0] ?? payload, response.status, response.headers.get("Retry-After"));
  return payload;
}

// Sends a form with a file; `progress` is told which part of it has arrived, from 0 to 1: `fetch` cannot tell.
export function upload(path, form, { progress, signal }) {
  return new Promise((done, failed) => {
    const sending = new XMLHttpRequest();
    sending.open("POST", ROOT + path);
    for (const [name, value] of Object.entries(marks(pageUser()))) sending.setRequestHeader(name, value);
    sending.responseType = "json";
    sending.upload.onprogress = ({ loaded, total }) => progress(total ? loaded / total : 0);
    sending.onerror = () => failed(new Problem("No connection to the service.", { code: "offline" }));
    sending.onabort = () => failed(new DOMException("The upload was stopped.", "AbortError"));
    sending.onload = () => {
      const { status, response } = sending;
      if (status === 401) pageRefused(true);
      if (status < 400 && response) return done(response);
      // A proxy that takes no bodies of that size answers with a page.
      const error = response ?? { error: { code: status === 413 ? "request_too_large" : "unreadable" } };
      return failed(problemOf(error, status, sending.getResponseHeader("Retry-After")));
    };
    signal.addEventListener("abort", () => sending.abort());
    sending.send(form);
  });
}

// The response, whatever its status; who is refused for who they are is told so here.
export async function fetchResponse(path, { anybody = false, headers = {}, ...options } = {}) {
  if (!anybody && !pageUser()) throw new Error(`${path} was requested before it was known whose page this is`);
  let response;
  try {
    const shown = { ...headers, ...marks(anybody ? null : pageUser()) };
    response = await fetch(ROOT + path, { ...options, headers: shown, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("No connection to the service.", { code: "offline" });
  }
  if (response.status === 401 && !anybody) pageRefused(true);
  return response;
}

function problemOf(error, status, wait = null) {
  const more = error.extensions ?? error.error ?? {};
  const message = error.message ?? more.message ?? "The service refused the request.";
  return new Problem(message, { code: more.code, status, retryAfter: more.retryAfter ?? wait });
}
