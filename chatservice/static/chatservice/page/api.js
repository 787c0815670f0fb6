// The one way to the service: GraphQL, as whoever signed in here, or as a guest.
export class Problem extends Error {
  constructor(message, { code = "failed", status = 0, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { code, status, retryAfter });
  }

  get isNetwork() {
    return this.code === "offline";
  }
}

// Shows that our own page asks: a page of another site cannot send this.
export const OURS = { "X-Requested-With": "chat" };

export function signedOut() {
  location.assign(`/login?next=${encodeURIComponent(location.pathname + location.hash)}`);
}

export async function graphql(query, variables = {}) {
  const payload = await request("/graphql", { method: "POST", body: { query, variables } });
  if (payload.errors?.length) throw problemOf(payload.errors[0], 200);
  return payload.data;
}

export async function request(path, { method = "GET", body, signal } = {}) {
  const headers = { ...OURS, Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, signal, cache: "no-store", body: body && JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("No connection to the service.", { code: "offline" });
  }
  if (response.status === 401) {
    signedOut();
    throw new Problem("You are signed out.", { code: "unauthorized", status: 401 });
  }
  let payload = null;
  try {
    payload = await response.json();
  } catch {
    if (response.ok && response.status === 204) return null;
    throw new Problem("The service gave an answer that cannot be read.", { code: "unreadable", status: response.status });
  }
  if (!response.ok) throw problemOf(payload.errors?.[0] ?? payload, response.status, response.headers.get("Retry-After"));
  return payload;
}

function problemOf(error, status, wait = null) {
  const more = error.extensions ?? error.error ?? {};
  const message = error.message ?? more.message ?? "The service refused.";
  return new Problem(message, { code: more.code, status, retryAfter: more.retryAfter ?? wait });
}
