// Everything that this page asks of the service, one function each.
import { graphql, request } from "./api.js";
import { claim } from "./identity.js";

export const PAGE = 40;
const MESSAGE = `id parentId role author content html model status finishReason emptyReason position createdAt versions feedback { rating comment } run { id state errorCode }`;
const EDGES = `edges { node { ${MESSAGE} } } pageInfo { hasNextPage hasPreviousPage }`;
const IN_LIST = `id title archived updatedAt`;
const listed = (connection) => ({ rows: connection.edges.map((edge) => edge.node), page: connection.pageInfo });
const cursorOf = (id) => id.replaceAll("-", "");

const ME = "me { id username isGuest isStaff }";
const asAnybody = { anybody: true };

// Whoever this browser is signed in as now.
export const whoIsHere = async () => (await graphql(`{ ${ME} }`, {}, asAnybody)).me;

// The page's first question: from here on it is the page of who is here now.
export async function hello() {
  const known = await graphql(`{ ${ME} models defaultModel }`, {}, asAnybody);
  claim(known.me);
  return known;
}

export async function conversations({ archived = false, after = null } = {}) {
  const data = await graphql(
    `query ($archived: Boolean, $after: String) {
       conversations(first: 30, archived: $archived, after: $after) {
         edges { node { ${IN_LIST} activeRun { id } } } pageInfo { hasNextPage endCursor } } }`,
    { archived, after },
  );
  return listed(data.conversations);
}

export async function conversation(id) {
  const data = await graphql(
    `query ($id: ID!) { conversation(id: $id) { ${IN_LIST} activeRun { id } messages(last: ${PAGE}) { ${EDGES} } } }`,
    { id },
  );
  if (!data.conversation) return null;
  const { messages, ...talk } = data.conversation;
  const found = listed(messages);
  return { ...talk, rows: found.rows, older: found.page.hasPreviousPage, newer: false };
}

// The messages before or after one of the branch that is shown.
export async function more(id, { before = null, after = null }) {
  const [side, cursor] = before ? ["last", before] : ["first", after];
  const data = await graphql(
    `query ($id: ID!, $before: String, $after: String) {
       conversation(id: $id) { messages(${side}: ${PAGE}, before: $before, after: $after) { ${EDGES} } } }`,
    { id, before: before && cursorOf(cursor), after: after && cursorOf(cursor) },
  );
  const found = listed(data.conversation.messages);
  return { rows: found.rows, more: before ? found.page.hasPreviousPage : found.page.hasNextPage };
}

// A message with the messages around it; its branch is shown first if it is not.
export async function around(id, messageId) {
  const query = `query ($id: ID!, $message: ID!, $cursor: String!) {
    message(id: $message) { ${MESSAGE} }
    conversation(id: $id) { ${IN_LIST} activeRun { id }
      before: messages(last: 20, before: $cursor) { ${EDGES} }
      after: messages(first: 20, after: $cursor) { ${EDGES} } } }`;
  const variables = { id, message: messageId, cursor: cursorOf(messageId) };
  let data;
  try {
    data = await graphql(query, variables);
  } catch (problem) {
    if (problem.code !== "bad_cursor") throw problem;
    await showBranch(messageId);
    data = await graphql(query, variables);
  }
  if (!data.message || !data.conversation) return null;
  const { before, after, ...talk } = data.conversation;
  const rows = [...listed(before).rows, data.message, ...listed(after).rows];
  return { ...talk, rows, older: before.pageInfo.hasPreviousPage, newer: after.pageInfo.hasNextPage };
}

export const message = async (id) =>
  (await graphql(`query ($id: ID!) { message(id: $id) { ${MESSAGE} } }`, { id })).message;

// The pictures and files of each message that has any, by its id.
export const filesOf = (ids) => request(`/files?${new URLSearchParams(ids.map((id) => ["message", id]))}`);

const BEGUN = `runId conversation { ${IN_LIST} } question { ${MESSAGE} } message { ${MESSAGE} }`;

// `parentId`: undefined appends to the shown branch, null starts a new one. The same `key` is never asked twice.
export async function send({ content, conversationId, parentId, model, key, whenBusy = "REJECT" }) {
  const variables = { content, conversationId: conversationId ?? null, model, key, whenBusy };
  const at = parentId === undefined ? "" : ", parentId: $parentId";
  if (at) variables.parentId = parentId;
  const data = await graphql(
    `mutation ($content: String!, $conversationId: ID, ${at ? "$parentId: ID, " : ""}$model: String, $key: String, $whenBusy: WhenBusy!) {
       sendMessage(content: $content, conversationId: $conversationId${at}, model: $model,
         idempotencyKey: $key, whenBusy: $whenBusy, wait: false) { ${BEGUN} } }`,
    variables,
  );
  return data.sendMessage;
}

export async function regenerate(messageId, { model, key }) {
  const data = await graphql(
    `mutation ($messageId: ID!, $model: String, $key: String) {
       regenerate(messageId: $messageId, model: $model, idempotencyKey: $key, wait: false) { ${BEGUN} } }`,
    { messageId, model, key },
  );
  return data.regenerate;
}

export const stop = (runId) => graphql("mutation ($runId: ID!) { stopRun(runId: $runId) { id state } }", { runId });

export const showBranch = (messageId) =>
  graphql("mutation ($messageId: ID!) { showBranch(messageId: $messageId) { id } }", { messageId });

// `rating` is UP or DOWN.
export async function setFeedback(messageId, rating, comment = "") {
  const data = await graphql(
    `mutation ($messageId: ID!, $rating: FeedbackRating!, $comment: String!) {
       setFeedback(messageId: $messageId, rating: $rating, comment: $comment) { rating comment } }`,
    { messageId, rating, comment },
  );
  return data.setFeedback;
}

export const deleteFeedback = (messageId) =>
  graphql("mutation ($messageId: ID!) { deleteFeedback(messageId: $messageId) }", { messageId });

export const rename = (id, title) =>
  graphql("mutation ($id: ID!, $title: String!) { renameConversation(id: $id, title: $title) { id } }", { id, title });

export const archive = (id, archived) =>
  graphql(
    "mutation ($id: ID!, $archived: Boolean!) { archiveConversation(id: $id, archived: $archived) { id } }",
    { id, archived },
  );

export const remove = (id) => graphql("mutation ($id: ID!) { deleteConversation(id: $id) }", { id });

// `mode` is hybrid, text or semantic. `note` says where something else answered than what was asked; `excluded` are the
// words that were left out.
export async function search(query, { after = null, mode = "hybrid" } = {}) {
  const data = await graphql(
    `query ($query: String!, $after: String, $mode: String) { search(query: $query, first: 20, after: $after, mode: $mode) {
       asked mode why excluded pageInfo { hasNextPage endCursor }
       edges { node { snippet highlights matched branch message { id role createdAt } conversation { id title } } } } }`,
    { query, after, mode },
  );
  const { asked, mode: answered, why, excluded } = data.search;
  return { ...listed(data.search), note: asked === answered ? null : why, excluded };
}
